"""Numbers as people read them, and other people's text made harmless.

Messages, logs, names and paths come from candidates, who may be hostile: a table must not break, a terminal
must not take orders, a page must not gain links.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

from kbench.model import Estimate

MISSING = "–"

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]P^_X]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS, …: titles, links, clipboard
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_LINE_BREAK = re.compile(r"\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Unicode categories that draw nothing or rearrange what is drawn, such as controls and bidi overrides."""
_SMALLEST_FIXED = 1e-4


def clean(text: str) -> str:
    """Text without escape sequences and invisible characters. Line breaks become \\n, tabs spaces."""
    text = _LINE_BREAK.sub("\n", _ESCAPE_SEQUENCE.sub("", text)).expandtabs(4)
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char == "\n" or unicodedata.category(char) not in _HIDDEN else "" for char in text)


def one_line(text: str, limit: int | None = None) -> str:
    """Clean text on one line, cut to `limit` characters with an ellipsis."""
    line = " ".join(clean(text).split())
    return line if limit is None or len(line) <= limit else line[: max(0, limit - 1)].rstrip() + "…"


def first_lines(text: str, lines: int, limit: int) -> list[str]:
    """The first `lines` lines that are not blank, each cut to `limit`, and how many more there are."""
    kept = [line.rstrip() for line in clean(text).split("\n") if line.strip()]
    shown = [line if len(line) <= limit else line[: limit - 1] + "…" for line in kept[:lines]]
    more = len(kept) - lines
    return [*shown, f"… ({more} more line{'s' if more > 1 else ''})"] if more > 0 else shown


def significant(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits and no exponent: 5.90, 0.137, 1230. (Below 1e-4: 1.23e-05.)"""
    if not math.isfinite(value):
        return str(value)
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0:
        return "0"
    if abs(rounded) < _SMALLEST_FIXED:
        return f"{rounded:.{digits - 1}e}"
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(0, decimals)}f}"


def optional(value: float | None) -> str:
    """`significant`, or a dash for what was not measured."""
    return MISSING if value is None else significant(value)


def ratio(value: float | None) -> str:
    """1.23x."""
    return MISSING if value is None else f"{significant(value)}x"


def estimate(value: Estimate | None) -> str:
    """1.23x [1.21, 1.25]; without the brackets where nothing bounds the value."""
    if value is None:
        return MISSING
    if value.low <= 0 or math.isinf(value.high):
        return ratio(value.value)
    return f"{ratio(value.value)} [{significant(value.low)}, {significant(value.high)}]"


def percent(value: float | None) -> str:
    """A relative change with its sign: +1.2%, -20.0%."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}%" if abs(value) < 10 else f"{significant(100 * value)}%"
    return "0.0%" if text in ("+0.0%", "-0.0%") else text


def some(names: Sequence[str], limit: int = 20) -> str:
    """`a, b, c, … (7 more)`."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f", … ({more} more)" if more > 0 else "")


def share(value: float | None) -> str:
    """A part of a whole: 67%."""
    return MISSING if value is None else f"{value:.0%}"


def fast_p_name(p: float) -> str:
    """fast_1.5."""
    return f"fast_{p:g}"


def change(value: float | None, low: float | None, high: float | None) -> str:
    """-5.0% [-6.1%, -3.9%]."""
    if value is None or low is None or high is None:
        return percent(value)
    return f"{percent(value)} [{percent(low)}, {percent(high)}]"
