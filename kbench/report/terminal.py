"""Screens, as rich renderables. Text goes in as `Text`, never as markup: `[red]` stays `[red]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kbench.compare.comparison import Comparison
from kbench.compare.gate import Gate, Outcome
from kbench.model import Record, Status
from kbench.report import tables
from kbench.report.tables import TextTable
from kbench.report.text import clean, one_line
from kbench.store.runs import Key
from kbench.store.summary import RunSummary

_STYLES = {"good": "green", "bad": "red", "muted": "dim", "": ""}
_TONED = frozenset({"status", "verdict", "pairs"})
"""The columns that carry a row's tone; a wholly coloured row is harder to read."""
_MESSAGE_LINES = 4
_MESSAGE_WIDTH = 160


def run_view(records: Mapping[Key, Record]) -> RenderableType:
    """The table of a run, the failures below it, and the totals."""
    values = tables.in_order(records.values())
    parts: list[RenderableType] = [table(tables.run_table(values))]
    parts += [Text(line, style="yellow") for line in tables.flagged(values)]
    for failure in tables.failures(values, lines=_MESSAGE_LINES, width=_MESSAGE_WIDTH):
        headline = Text(f"{failure.id}  ", style="bold")
        headline.append(failure.headline, style=_STYLES[tables.status_tone(failure.status)])
        parts += [Text(""), headline, *_indented(failure.lines)]
    parts += [Text(""), Text(tables.run_totals(records))]
    return Group(*parts)


def comparison_view(comparison: Comparison, gate: Gate | None = None) -> RenderableType:
    """The table, what holds for the two runs as a whole, and the gate's answer where it was asked."""
    heading = Text(f"{one_line(comparison.old.name)} → {one_line(comparison.new.name)}", style="bold")
    parts: list[RenderableType] = [heading]
    differences = tables.environment_lines(comparison)
    if differences:
        parts += [Text("the environments differ", style="yellow"), *_indented(differences)]
    if comparison.rows:
        parts += [table(tables.comparison_table(comparison)), Text("")]
    parts += [Text(line) for line in tables.comparison_facts(comparison)]
    if gate is not None:
        style = "green" if gate.outcome is Outcome.PASSED else "red"
        parts += [Text(""), Text(f"gate: {gate.outcome}", style=f"bold {style}"), *_indented(gate.reasons)]
    return Group(*parts)


def record_view(
    record: Record, *, files: Iterable[tuple[str, str]] = (), logs: Mapping[str, str] | None = None
) -> RenderableType:
    """A record in full. `files` are (name, path) of what the run keeps of it, `logs` name to content."""
    tone = tables.status_tone(record.status)
    title = Text(f"{one_line(record.id)}  ", style="bold")
    title.append(_headline(record), style=_STYLES[tone])
    parts: list[RenderableType] = [title]
    if record.message:
        parts.append(Padding(Text(clean(record.message).strip("\n")), (0, 0, 0, 2), expand=False))
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="dim")
    facts.add_column(overflow="fold")
    for name, value in [*tables.record_facts(record), *((name, one_line(path)) for name, path in files)]:
        facts.add_row(Text(name), Text(value))
    parts += [Text(""), facts]
    if record.evidence:
        parts += [Text(""), Text("evidence", style="bold"), *_indented(tables.evidence_lines(record))]
    for name, content in (logs or {}).items():
        parts += [Text(""), Text(f"--- {one_line(name)}", style="bold"), Text(clean(content).strip("\n"))]
    return Group(*parts)


def _headline(record: Record) -> str:
    if record.status is Status.CORRECT or not record.reason:
        return record.status.value
    return f"{record.status}: {one_line(record.reason)}"


def list_view(runs: Sequence[RunSummary]) -> RenderableType:
    """The runs below a directory."""
    return table(tables.list_table(runs))


def table(content: TextTable) -> Table:
    """A table in the one look that all screens have."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in content.headers:
        # Names may fold. A number that folds or silently loses digits is a wrong number.
        number = header in content.numeric
        drawn.add_column(
            Text(header), justify="right" if number else "left", no_wrap=number,
            overflow="ellipsis" if number else "fold",
        )  # fmt: skip
    tones = content.tones or ("",) * len(content.rows)
    for row, tone in zip(content.rows, tones, strict=True):
        cells = zip(content.headers, row, strict=True)
        drawn.add_row(*(Text(cell, style=_STYLES[tone] if header in _TONED else "") for header, cell in cells))
    return drawn


def _indented(lines: Iterable[str]) -> list[RenderableType]:
    return [Padding(Text(line), (0, 0, 0, 2), expand=False) for line in lines]
