"""Reading lines: splitting, dedenting, a small lexer for Python, and telling prose from code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

TAB_COLUMNS = 4


class LexState(NamedTuple):
    """Where a Python lexer stands at a line's end."""

    quote: str = ""
    """The delimiter of the triple-quoted string that is open, or ""."""
    depth: int = 0
    """How many brackets are open."""

    @property
    def inside(self) -> bool:
        """Whether the next line continues this one."""
        return bool(self.quote) or self.depth > 0


_CODE_TOKEN = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*(?:"|\\?$)|\'(?:\\.|[^\'\\])*(?:\'|\\?$)|#|[()\[\]{}]')
_STRING_TOKEN = {quote: re.compile(r"\\.|" + quote) for quote in ('"""', "'''")}


def lex_line(state: LexState, line: str) -> LexState:
    """The state after `line`. A string that is not triple-quoted ends with its line."""
    quote, depth = state
    position = 0
    while position < len(line):
        if quote:
            found = _STRING_TOKEN[quote].search(line, position)
            if found is None:
                break
            if found.group() == quote:
                quote = ""
        else:
            found = _CODE_TOKEN.search(line, position)
            if found is None or found.group() == "#":
                break
            token = found.group()
            if token in _STRING_TOKEN:
                quote = token
            elif token in "([{":
                depth += 1
            elif token in ")]}":
                depth = max(depth - 1, 0)
        position = found.end()
    return LexState(quote, depth)


def lex(lines: Iterable[str]) -> LexState:
    """The state at the end of `lines`, from a clean start."""
    state = LexState()
    for line in lines:
        state = lex_line(state, line)
    return state


def split_lines(text: str) -> list[str]:
    """Lines as Python counts them (LF, CRLF, CR; not the form feeds of `str.splitlines`), without a BOM."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def join_lines(lines: Sequence[str]) -> str:
    """The inverse of `split_lines`: every line ends with LF."""
    return "".join(line + "\n" for line in lines)


def columns(whitespace: str) -> int:
    """Width of whitespace or a list bullet, a tab counting as `TAB_COLUMNS`."""
    return sum(TAB_COLUMNS if char == "\t" else 1 for char in whitespace)


def indentation(line: str) -> str:
    """The whitespace a line starts with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def strip_up_to(line: str, width: int) -> str:
    """`line` without at most `width` columns of leading whitespace."""
    taken = 0
    for index, char in enumerate(line):
        if taken >= width or char not in " \t":
            return line[index:]
        taken += columns(char)
    return ""


def last_filled_line(lines: Sequence[str]) -> int:
    """1-based number of the last line that is not blank; 0 if all are."""
    for number in range(len(lines), 0, -1):
        if lines[number - 1].strip():
            return number
    return 0


MODEL_NEW_STATEMENT = re.compile(r"[ \t]*(?:class[ \t]+ModelNew\b|ModelNew[ \t]*(?::[^=]*)?=(?!=))")

_CODE_START = re.compile(
    r"@\w|import[ \t]+\w+(?:\.\w+)*(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,.*)?[ \t]*(?:#.*|;.*)?$"
    r"|from[ \t]+[\w.]+[ \t]+import\b|(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|class[ \t]+\w+[ \t]*[(:]"
)
_WORD = r"[A-Za-z][A-Za-z'\u2019-]*"
_MARKS = r"[(\"'`*_\[\])]*"
_PROSE = re.compile(
    rf"(?:{_MARKS}{_WORD}{_MARKS}[,:;.!?]*[ \t]+){{2}}{_MARKS}{_WORD}"  # three words in a row
    rf"|{_WORD}(?:[ \t]+{_WORD})*[ \t]*[.:!?,]*$"  # a short phrase alone on its line
    r"|[-*+>][ \t]|\d+[.)][ \t]|\*\*|#|[`~]{3}|-{3,}$|={3,}$"  # markdown
    r"|</?[A-Za-z|][^=(]*>"  # a tag
)
_KEYWORD = re.compile(
    r"(?:import|from|class|def|async|if|elif|else|try|except|finally|for|while|with|return|raise|assert|del|global|pass)\b"
)
_KEYWORD_CODE = re.compile(r".*(?::[ \t]*(?:#.*)?$|[=(\[])|(?:pass|try|else|finally)\b")


def starts_code(line: str) -> bool:
    """Whether a line can hardly be anything but the start of a Python statement."""
    return _CODE_START.match(line) is not None


_WORDS_ONLY = re.compile(r"[A-Za-z0-9 ,.!?'\u2019-]+:?$")


def is_plain_words(line: str) -> bool:
    """Whether a line that looks like prose has nothing in it that code needs: parsing it can be saved."""
    if line.startswith(("```", "~~~")):
        return True
    return _WORDS_ONLY.match(line) is not None and _KEYWORD.match(line) is None


def looks_like_prose(line: str) -> bool:
    """Whether a line that is not valid Python reads as text around the code rather than as broken code."""
    if starts_code(line):
        return False
    if _KEYWORD.match(line) and _KEYWORD_CODE.match(line):
        return False
    return _PROSE.match(line) is not None
