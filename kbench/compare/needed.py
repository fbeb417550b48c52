"""How many replicates per run would settle a row that is inconclusive?"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kbench import stats
from kbench.compare.row import SIGNIFICANCE, Change, Evidence, verdict_of

MOST_REPLICATES = 1000
"""Beyond this nobody measures, and the answer is "more"."""


class Obstacle(enum.StrEnum):
    """Why no number of replicates can be named."""

    NOISE = "noise_between_runs"
    """τ² alone, which more replicates do not reduce, keeps the row inconclusive."""
    UNKNOWN_SPREAD = "unknown_spread"
    """Neither run has two replicates."""
    THRESHOLD = "at_threshold"
    """D is the threshold itself, to the last digit."""


@dataclass(frozen=True, kw_only=True)
class Needed:
    """An answer that supposes that D, the spread of the replicates and τ² stay as they were observed."""

    verdict: Change | None
    """What the row would then be; None where no number of replicates decides it, or nothing is known."""
    replicates: int | None = None
    """In each run; None where there is no such number up to `MOST_REPLICATES`."""
    obstacle: Obstacle | None = None
    """Set where `verdict` is None."""


def replicates_needed(evidence: Evidence, others: Sequence[float], *, threshold: float) -> Needed:
    """The smallest P at which the row's own rule (`verdict_of`) decides, counted up from the smaller run's P.

    Each run would have P replicates with the variance per replicate that its own had, s²: D's variance is
    s²_old/P + s²_new/P + τ². `others` are the p-values of the other rows, which Holm's adjustment needs; they
    stay as they are. Which verdict is in reach follows from D: beyond the threshold the change must become
    significant, within it the interval must come to lie inside ±threshold. The widths need not fall with P (the
    degrees of freedom may, towards those of τ²), so P is counted up rather than solved for.
    """
    sides = [_Side.of(side) for side in (evidence.old, evidence.new)]
    spreads = [side.spread for side in sides if side.spread is not None]
    if not spreads:
        return Needed(verdict=None, obstacle=Obstacle.UNKNOWN_SPREAD)
    # A run of one replicate has no spread of its own; the other's stands in, as in `log_difference`.
    old, new = (side.spread if side.spread is not None else spreads[0] for side in sides)
    cutoff = stats.holm_cutoff(others, SIGNIFICANCE)

    def verdict_at(count: float) -> Change | None:
        found = _difference_at(evidence, old, new, count)
        significant = found.p_value is not None and found.p_value < cutoff
        verdict = verdict_of(found, 0.0 if significant else 1.0, threshold)
        return None if verdict is Change.INCONCLUSIVE else verdict

    for count in range(max(2, min(side.count for side in sides)), MOST_REPLICATES + 1):
        verdict = verdict_at(count)
        if verdict is not None:
            return Needed(verdict=verdict, replicates=count)
    verdict = verdict_at(math.inf)
    if verdict is not None:
        return Needed(verdict=verdict)
    return Needed(verdict=None, obstacle=Obstacle.NOISE if evidence.noise.variance > 0 else Obstacle.THRESHOLD)


@dataclass(frozen=True, kw_only=True)
class _Side:
    count: int
    """P."""
    spread: float | None
    """s², the variance of one replicate."""

    @classmethod
    def of(cls, mean: stats.LogMean) -> _Side:
        count = mean.replicates
        return cls(count=count, spread=None if mean.variance is None else mean.variance * count)


def _difference_at(evidence: Evidence, old: float, new: float, count: float) -> stats.Difference:
    """The test of D as it would be with `count` replicates a run; with infinitely many only τ² is left."""
    sides = [
        replace(side, variance=spread / count, degrees=count - 1)
        for side, spread in ((evidence.old, old), (evidence.new, new))
    ]
    return stats.difference(sides[0], sides[1], evidence.noise)
