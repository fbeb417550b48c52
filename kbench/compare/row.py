"""One pair in two runs: what became of it, and from what that was concluded."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from kbench import stats
from kbench.model import Estimate, Status
from kbench.store.runs import Key

SIGNIFICANCE = 0.05
"""A change counts as real when Holm's adjusted p-value is below this."""
ROUNDING = 1e-9
"""Two changes closer than this are one (ratios, dimensionless)."""


class Change(enum.StrEnum):
    """What became of a pair."""

    SAME = "same"
    """The interval of the change lies within the threshold."""
    IMPROVED = "improved"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    """The interval reaches past the threshold, but the change is not both that large and significant."""
    BROKEN = "broken"
    """Was correct, and now fails."""
    FIXED = "fixed"
    STILL_FAILING = "still_failing"
    NOT_MEASURED = "not_measured"
    """At least one side was skipped, hit an error of kbench's own, or was correct but not timed."""
    NOT_COMPARABLE = "not_comparable"
    """Problem, size, precision, device or machine differ."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the verdict of a measured row rests on. Log-ratios are natural and dimensionless."""

    old: stats.LogMean
    new: stats.LogMean
    noise: stats.RunNoise
    """τ² as it entered this row's test."""
    noise_rows: tuple[Key, ...]
    """The unchanged rows that τ² was estimated from; `noise.left_out` counts in these."""
    difference: stats.Difference
    rank: int | None
    """Place of the row's p-value among all, 1 for the smallest; None where it has none."""
    tests: int
    """How many rows have a p-value."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pair that both runs have."""

    problem: str
    solution: str
    old_status: Status
    new_status: Status
    verdict: Change
    note: str = ""
    """Why a pair is not comparable or not measured, or what else a reader should know."""
    unchanged: bool = False
    """The bytes of the problem and of the solution are those of the old run."""
    old_speedup: Estimate | None = None
    new_speedup: Estimate | None = None
    change: float | None = None
    """exp(D) − 1 with D = mean d_new − mean d_old: −0.1 is a speedup that shrank by 10%."""
    change_low: float | None = None
    change_high: float | None = None
    """The 95% interval of `change`, not adjusted for the number of rows; None where nothing bounds it."""
    p_value: float | None = None
    p_adjusted: float | None = None
    """Holm's, over all rows with a p-value."""
    delta_ln_reference: float | None = None
    """ln(new reference time / old): the part of D that is the reference's own change."""
    delta_ln_time: float | None = None
    """ln(new solution time / old). D ≈ delta_ln_reference − delta_ln_time."""

    old_log_ratios: tuple[float, ...] = ()
    """d_p of the old run's replicates, in the order they were taken; empty where the record has none."""
    new_log_ratios: tuple[float, ...] = ()
    evidence: Evidence | None = None
    """Only of a row with a `change`."""

    @property
    def key(self) -> Key:
        return (self.problem, self.solution)

    @property
    def id(self) -> str:
        return f"{self.problem}/{self.solution}"

    @property
    def reference_share(self) -> float | None:
        """The reference's part of D, e.g. 0.8: four fifths of the change are the reference's own."""
        if self.change is None or self.delta_ln_reference is None or abs(math.log1p(self.change)) < ROUNDING:
            return None
        return self.delta_ln_reference / math.log1p(self.change)


def verdict_of(found: stats.Difference, adjusted: float | None, threshold: float) -> Change:
    """The rule for a pair that was timed in both runs (design.md §6).

    `regressed` or `improved`: the change is at least the threshold and `adjusted`, Holm's p-value, is
    below `SIGNIFICANCE`. `same`: the whole 95% interval lies within ±threshold. Otherwise `inconclusive`.
    """
    change = stats.exp(found.delta) - 1
    if adjusted is not None and adjusted < SIGNIFICANCE:
        if change <= -threshold + ROUNDING:
            return Change.REGRESSED
        if change >= threshold - ROUNDING:
            return Change.IMPROVED
    within = stats.exp(found.low) - 1 > -threshold and stats.exp(found.high) - 1 < threshold
    return Change.SAME if within else Change.INCONCLUSIVE
