"""What a file of the suite says must become of it: the first line of its docstring.

    expect: STATUS                  this status, whatever the reason
    expect: STATUS / REASON         exactly this status and reason
    expect: correct
    expect: correct, at most 1.5x   correct, and the reported speedup no more than that
    expect: …; CPU only             what it does to memory or with threads has no sense for tensors on a GPU
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

from kbench.model import Status
from kbench.report.text import significant

_LINE = re.compile(r'r?"""expect:(?P<what>.*?)(?:""")?\s*')
_BOUND = re.compile(r"at most (\d+(?:\.\d+)?)x")
_REASON = re.compile(r"[A-Za-z0-9_]+(?: [A-Za-z0-9_]+)*")
_CPU_ONLY = "; CPU only"
_OURS = frozenset({Status.SKIPPED, Status.INFRA_ERROR})
"""Statuses that say nothing about the solution, so that none can be expected of one."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The outcome that a file must have."""

    status: Status
    reason: str | None = None
    """None: any reason will do."""
    at_most: float | None = None
    """The highest speedup that may be reported, of a solution that is to be `correct`."""
    cpu_only: bool = False
    """It can only be seen on the CPU."""

    def __str__(self) -> str:
        if self.at_most is not None:
            return f"{self.status}, at most {self.at_most:g}x"
        return f"{self.status} / {self.reason}" if self.reason else self.status.value


def read_expectation(text: str) -> Expectation:
    """The expectation of a file with this text. Raises ValueError, saying what its first line lacks."""
    first = text.removeprefix("\ufeff").partition("\n")[0]
    match = _LINE.fullmatch(first)
    if match is None:
        raise ValueError('the file does not begin with """expect: STATUS / REASON')
    what = match["what"].strip()
    return dataclasses.replace(parse_expectation(what.removesuffix(_CPU_ONLY)), cpu_only=what.endswith(_CPU_ONLY))


def parse_expectation(what: str) -> Expectation:
    """`what` stands after `expect:`. Raises ValueError."""
    head, comma, bound = what.partition(", ")
    name, slash, reason = head.partition(" / ")
    try:
        status = Status(name)
    except ValueError:
        raise ValueError(f"{name!r} is no status") from None
    if status in _OURS:
        raise ValueError(f"{name!r} is never a solution's doing")
    if slash and _REASON.fullmatch(reason) is None:
        raise ValueError(f"{reason!r} is no reason")
    if status is Status.CORRECT and slash:
        raise ValueError("'correct' has no reason")
    if not comma:
        return Expectation(status=status, reason=reason or None)
    match = _BOUND.fullmatch(bound)
    if match is None or status is not Status.CORRECT or not 0 < float(match[1]) < math.inf:
        raise ValueError(f"{bound!r} is no bound: only 'correct, at most 1.5x' has one")
    return Expectation(status=status, at_most=float(match[1]))


def outcome_text(status: Status, reason: str, speedup: float | None) -> str:
    """What a record came to, in the words of an expectation: `incorrect / values`, `correct, 1.02x`."""
    if status is Status.CORRECT:
        return status.value if speedup is None else f"{status}, {significant(speedup)}x"
    return f"{status} / {reason}" if reason else status.value
