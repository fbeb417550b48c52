"""May a change pass, given the comparison of the runs before and after it?"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from kbench.compare.comparison import Comparison
from kbench.compare.row import Change
from kbench.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from kbench.model import Status
from kbench.store.runs import LoadedRun

MIN_REPLICATES = 5
"""Fewer (`--quick`) are for a look, not for a gate (design.md §6)."""


class Outcome(enum.StrEnum):
    """The answer, each with its exit code."""

    PASSED = "passed"
    REGRESSION = "regression"
    REFUSED = "refused"
    """The two runs do not allow an answer."""

    @property
    def exit_code(self) -> int:
        return {"passed": EXIT_OK, "regression": EXIT_FAILED, "refused": EXIT_UNDECIDED}[self.value]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The answer and the reasons for it, one line each."""

    outcome: Outcome
    reasons: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code


def gate(comparison: Comparison, *, allow_missing: bool = False) -> Gate:
    """Decide. In this order:

    1. no pair in common: refused;
    2. a pair that was correct and fails now, or is gone (unless `allow_missing`): a regression, wherever the
       runs were made; deleting a kernel must not turn a gate green;
    3. different machines or a `--quick` run: refused;
    4. a row that regressed: a regression;
    5. a pair that was correct and could not be judged or compared now: refused.

    A regression that was found outweighs a refusal for some other row. Inconclusive rows pass.
    """
    if not comparison.rows:
        return Gate(outcome=Outcome.REFUSED, reasons=("the two runs have no pair in common",))
    broken = _broken(comparison, allow_missing=allow_missing)
    if broken:
        return Gate(outcome=Outcome.REGRESSION, reasons=(*broken, *_slower(comparison)))
    if not any(row.old_status is Status.CORRECT for row in comparison.rows):
        return Gate(outcome=Outcome.PASSED, reasons=("nothing to gate: no pair was correct before",))
    unfit = _unfit(comparison)
    if unfit:
        return Gate(outcome=Outcome.REFUSED, reasons=tuple(unfit))
    slower, open_rows = _slower(comparison), _unanswered(comparison)
    if slower:
        return Gate(outcome=Outcome.REGRESSION, reasons=(*slower, *open_rows))
    if open_rows:
        return Gate(outcome=Outcome.REFUSED, reasons=tuple(open_rows))
    return Gate(outcome=Outcome.PASSED, reasons=_passing(comparison))


def _broken(comparison: Comparison, *, allow_missing: bool) -> list[str]:
    broken = [
        f"{row.id} was correct and is not any more ({row.note or row.new_status})"
        for row in comparison.having(Change.BROKEN)
    ]
    if allow_missing:
        return broken
    gone = [f"{record.id} was correct and is gone" for record in comparison.vanished if record.status is Status.CORRECT]
    return broken + gone


def _slower(comparison: Comparison) -> list[str]:
    return [
        f"{row.id} is slower: its speedup changed by {row.change or 0.0:+.1%}"
        for row in comparison.having(Change.REGRESSED)
    ]


def _unfit(comparison: Comparison) -> list[str]:
    """What keeps the two runs as a whole from being gated on their times."""
    machines = [
        f"different {difference.field}: {difference.old} before, {difference.new} now"
        for difference in comparison.environment
        if difference.decisive
    ]
    quick = [
        f"the {side} run has {count} replicates of each pair (--quick), and a gate needs {MIN_REPLICATES}"
        for side, count in (("old", _replicates(comparison.old)), ("new", _replicates(comparison.new)))
        if count is not None and count < MIN_REPLICATES
    ]
    return machines + quick


def _replicates(run: LoadedRun) -> int | None:
    """The replicates the run was asked for; unknown of a bare records file."""
    count = run.options.get("replicates")
    return count if isinstance(count, int) else None


def _unanswered(comparison: Comparison) -> list[str]:
    return [
        f"{row.id} cannot be judged: {row.note}"
        for row in comparison.having(Change.NOT_COMPARABLE, Change.NOT_MEASURED)
        if row.old_status is Status.CORRECT
    ]


def _passing(comparison: Comparison) -> tuple[str, ...]:
    unclear = len(comparison.having(Change.INCONCLUSIVE))
    limit = f"no pair is measurably slower by {100 * comparison.threshold:.3g}% or more"
    return (limit, f"{unclear} inconclusive") if unclear else (limit,)
