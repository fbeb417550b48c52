"""May a change pass, given the comparison of the runs before and after it?"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from kbench.compare.comparison import Comparison
from kbench.compare.row import ROUNDING, Change, Row
from kbench.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from kbench.model import Status
from kbench.store.runs import LoadedRun

MIN_REPLICATES = 5
"""Fewer (`--quick`) are for a look, not for a gate (design.md §6)."""
_MISMATCH = "clock_mismatch"


class Outcome(enum.StrEnum):
    """The answer, each with its exit code."""

    PASSED = "passed"
    REGRESSION = "regression"
    FAILED = "failed"
    """A pair that only the new run has was judged and is not correct (a strict gate only)."""
    REFUSED = "refused"
    """The two runs do not allow an answer."""

    @property
    def exit_code(self) -> int:
        return {
            Outcome.PASSED: EXIT_OK, Outcome.REGRESSION: EXIT_FAILED, Outcome.FAILED: EXIT_FAILED,
            Outcome.REFUSED: EXIT_UNDECIDED,
        }[self]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The answer and the reasons for it, one line each."""

    outcome: Outcome
    reasons: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code


def gate(comparison: Comparison, *, allow_missing: bool = False, strict: bool = False) -> Gate:
    """Decide. In this order:

    1. no pair in common: refused;
    2. a pair that was correct and fails now, or is gone (unless `allow_missing`): a regression, wherever the
       runs were made; deleting a kernel must not turn a gate green;
    3. different machines or a `--quick` run: refused;
    4. a row that regressed: a regression;
    5. a pair that was correct and could not be judged or compared now: refused.

    A regression that was found outweighs a refusal for some other row. Inconclusive rows pass.

    `strict` lets nothing pass unanswered. A pair that only the new run has and that fails makes the gate fail,
    unless there is a regression, which says more. Refused is also, named row by row: an inconclusive row whose
    interval reaches past the threshold on the slow side (or is not known); a row of which a time is doubtful (see
    `_doubtful`); a new pair that hit an error of kbench's own. What was skipped in both runs, or is new and skipped,
    was never asked of this machine and passes.
    """
    usual = _usual(comparison, allow_missing=allow_missing)
    if not strict or usual.outcome is Outcome.REGRESSION:
        return usual
    failing = _appeared_failing(comparison)
    undecided = [*_maybe_slower(comparison), *_doubtful(comparison), *_appeared_unjudged(comparison)]
    refused = usual.reasons if usual.outcome is Outcome.REFUSED else ()
    if failing:
        return Gate(outcome=Outcome.FAILED, reasons=(*failing, *refused, *undecided))
    if refused or undecided:
        return Gate(outcome=Outcome.REFUSED, reasons=(*refused, *undecided))
    return usual


def _usual(comparison: Comparison, *, allow_missing: bool) -> Gate:
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
    quick = []
    for side, run in (("old", comparison.old), ("new", comparison.new)):
        count = _replicates(run)
        if count is not None and count < MIN_REPLICATES:
            quick.append(
                f"the {side} run has {count} replicates of each pair (--quick), and a gate needs {MIN_REPLICATES}"
            )
        elif run.options.get("half_blocks") is True:
            quick.append(f"the {side} run was made with --quick: of fewer blocks, and its pairs may share processes")
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


def _maybe_slower(comparison: Comparison) -> list[str]:
    """The inconclusive rows that may hide a regression."""
    found = []
    for row in comparison.having(Change.INCONCLUSIVE):
        if not may_be_slower(row, comparison.threshold):
            continue
        if row.change_low is None:
            found.append(f"{row.id} may be slower: {row.note or 'nothing bounds its change'}")
        else:
            found.append(f"{row.id} may be slower: its speedup may have changed by {row.change_low:+.1%}")
    return found


def may_be_slower(row: Row, threshold: float) -> bool:
    """Whether an inconclusive row's interval reaches past the threshold on the slow side, or is not known."""
    return row.change_low is None or row.change_low <= -threshold + ROUNDING


def _doubtful(comparison: Comparison) -> list[str]:
    """The correct pairs of the new run with a time that is in doubt.

    `clock_mismatch` counts in either run: that time is the judge's window and not the claimed one, and the gate
    compares both. Any other flag counts where the old record lacks it: what a problem has always been flagged for
    (`precision_undecidable`) is no news.
    """
    found = []
    for key, record in comparison.new.records.items():
        if record.status is not Status.CORRECT:
            continue
        before = comparison.old.records.get(key)
        known = before.flags if before else ()
        flags = [flag for flag in record.flags if flag not in known or flag == _MISMATCH]
        if flags:
            found.append(f"{record.id} is flagged in the new run: {', '.join(flags)}")
        elif _MISMATCH in known:
            found.append(f"{record.id} is flagged in the old run: {_MISMATCH}")
    return found


def _appeared_failing(comparison: Comparison) -> list[str]:
    return [
        f"{record.id} is new and not correct ({record.status}{f': {record.reason}' if record.reason else ''})"
        for record in comparison.appeared
        if record.status.is_failure
    ]


def _appeared_unjudged(comparison: Comparison) -> list[str]:
    return [
        f"{record.id} is new and was not judged ({record.status})"
        for record in comparison.appeared
        if record.status is Status.INFRA_ERROR
    ]


def _passing(comparison: Comparison) -> tuple[str, ...]:
    unclear = len(comparison.having(Change.INCONCLUSIVE))
    limit = f"no pair is measurably slower by {100 * comparison.threshold:.3g}% or more"
    return (limit, f"{unclear} inconclusive") if unclear else (limit,)
