"""A table as lines of a fixed-width screen. Rich draws any table; this draws thousands of rows in no time.

Widths are counted in terminal cells, so that wide characters keep the columns straight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from kbench.report.tables import TextTable

_GAP = "   "
_WORD = 12
"""The longest word that is kept whole, such as `inconclusive`; names are longer and fold."""
_LEAST_WIDTH = 7
"""A column that folds is not made narrower than this while any number has room to give."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A rich renderable. Names fold; a number never does, it is cut and shows it: half a number is a wrong one."""

    content: TextTable
    toned: frozenset[str]
    """The headers of the columns that carry their row's tone."""
    styles: dict[str, str]
    """Tone to rich style."""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(options.max_width, _total(self._columns())))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = _fitted(self._columns(), self.content.expendable, options.max_width)
        yield from _line([column.heading() for column in columns])
        yield Segment("─" * min(options.max_width, _total(columns)) + "\n")
        tones = self.content.tones or ("",) * len(self.content.rows)
        styles = {tone: Style.parse(style) if style else None for tone, style in self.styles.items()}
        for row, tone in enumerate(tones):
            yield from _line([column.cell(console, column.texts[row], styles[tone]) for column in columns])

    def _columns(self) -> list[_Column]:
        cells = list(zip(*self.content.rows, strict=True)) or [()] * len(self.content.headers)
        return [
            _Column.of(header, texts, number=header in self.content.numeric, toned=header in self.toned)
            for header, texts in zip(self.content.headers, cells, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class _Column:
    header: str
    texts: Sequence[str]
    number: bool
    toned: bool
    word: int
    """The width of its longest word."""
    width: int

    @classmethod
    def of(cls, header: str, texts: Sequence[str], *, number: bool, toned: bool) -> _Column:
        cells = dict.fromkeys([header, *texts])
        return cls(
            header=header, texts=texts, number=number, toned=toned, width=max(map(cell_len, cells)),
            word=max(cell_len(word) for cell in cells for word in cell.split() or [""]),
        )  # fmt: skip

    def least(self, word: int) -> int:
        """The width it can be drawn in without a loss, where words longer than `word` may be broken."""
        return self.width if self.number else max(cell_len(self.header), min(self.word, word))

    def heading(self) -> _Cell:
        return _Cell(lines=[self._cut(self.header)], width=self.width, right=self.number, style=None)

    def _cut(self, text: str) -> str:
        return text if cell_len(text) <= self.width else set_cell_size(text, self.width - 1) + "…"

    def cell(self, console: Console, text: str, style: Style | None) -> _Cell:
        if self.number or cell_len(text) <= self.width:
            lines = [self._cut(text)]
        elif " " not in text:
            lines = chop_cells(text, self.width)
        else:
            lines = [str(line) for line in Text(text).wrap(console, self.width, overflow="fold")]
        return _Cell(lines=lines, width=self.width, right=self.number, style=style if self.toned else None)


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _fitted(columns: list[_Column], expendable: Iterable[str], screen: int) -> list[_Column]:
    """The columns in at most `screen` cells.

    What is expendable goes where all else, folded between words, would not fit beside it. Then the widest of the
    columns that fold gives way first, then within words, and only then a number.
    """
    for header in expendable:
        if sum(column.least(_WORD) + len(_GAP) for column in columns) - len(_GAP) <= screen:
            break
        columns = [column for column in columns if column.header != header]
    widths = [column.width for column in columns]
    excess = _total(columns) - screen
    for least in (
        [column.least(_WORD) for column in columns],
        [column.least(_LEAST_WIDTH) for column in columns],
        [1] * len(columns),
    ):
        while excess > 0:
            wide = [index for index, width in enumerate(widths) if width > least[index]]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
            excess -= 1
    return [replace(column, width=width) for column, width in zip(columns, widths, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Cell:
    lines: list[str]
    width: int
    right: bool
    style: Style | None

    def at(self, index: int) -> Segment:
        text = self.lines[index].rstrip() if index < len(self.lines) else ""
        room = " " * (self.width - cell_len(text))
        return Segment(room + text if self.right else text + room, self.style)


def _line(drawn: Sequence[_Cell]) -> Iterator[Segment]:
    """One row, as many lines of the screen as its tallest cell has."""
    gap, end = Segment(_GAP), Segment("\n")
    for index in range(max((len(cell.lines) for cell in drawn), default=0)):
        for column, cell in enumerate(drawn):
            if column:
                yield gap
            yield cell.at(index)
        yield end
