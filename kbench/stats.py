"""The numbers behind a speedup and behind the difference of two runs. Pure functions, no files, no clock.

Ratios are handled as natural logarithms ("log-ratio", dimensionless): they add, and -ln(1.25) is as
far from zero as ln(1.25). SciPy is imported where it is needed because that costs 0.3 s.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kbench.model import Estimate

CONFIDENCE = 0.95
MIN_UNCHANGED_ROWS = 4
"""Fewer unchanged rows than this say nothing usable about the noise between runs."""

FIRST_REPLICATES = 5
"""As many are always taken; from their spread alone follows whether there will be more (`wants_more`)."""

_CHI2_1_MEDIAN = 0.4549364231195727
"""Median of the chi-square distribution with one degree of freedom: median(D²) = 0.4549·sd² for normal D."""
_TRIM_AT_SD = 4.0
_DEGREES_PER_ROW = 0.6
_LEAST_OF_A_MODE = 2
_SPLIT_LIMITS = {
    5: 55.9, 6: 30.0, 7: 19.7, 8: 14.6, 9: 11.8, 10: 10.0, 12: 7.81, 15: 6.18, 20: 4.91, 30: 3.86, 50: 3.13,
}  # fmt: skip
"""Count of values: what the ratio of `is_bimodal` exceeds in 1% of normal samples of that size, rounded up.

From 2,000,000 samples each (600,000 from 20 on); `tests/simulation/test_modes.py` draws its own."""


def log_ratio_per_block(reference: Sequence[Sequence[float]], solution: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """r_b = ln(median of the reference's samples in block b / median of the solution's), for each block b.

    Both arguments hold one sequence of positive times per block, in any one unit. The median of a block
    ignores the few samples hit by an interrupt (design.md §6). Raises ValueError for unpaired or empty blocks
    and for times that are not positive and finite.
    """
    if not reference or len(reference) != len(solution):
        raise ValueError(f"{len(reference)} reference blocks against {len(solution)} solution blocks")
    return tuple(
        math.log(_block_median(ours, "reference", index) / _block_median(theirs, "solution", index))
        for index, (ours, theirs) in enumerate(zip(reference, solution, strict=True))
    )


def replicate_log_ratio(reference: Sequence[Sequence[float]], solution: Sequence[Sequence[float]]) -> float:
    """d_p, the figure of one replicate: the median of `log_ratio_per_block` over its blocks."""
    return statistics.median(log_ratio_per_block(reference, solution))


def _block_median(times: Sequence[float], side: str, index: int) -> float:
    if not times:
        raise ValueError(f"block {index} of the {side} has no samples")
    if not all(0 < time < math.inf for time in times):
        raise ValueError(f"block {index} of the {side} holds a time that is not positive and finite")
    return statistics.median(times)


def speedup_estimate(d: Sequence[float], *, first: int | None = None) -> Estimate:
    """Speedup = exp(mean d) with the 95% interval exp(mean d ± t(.975, P−1)·s/√P), over P replicates.

    `d` holds one log-ratio per replicate; the result is in ratios. Student's interval over replicates, since
    the noise lies between processes (facts.md) and a bootstrap over five clusters under-covers. One replicate
    says nothing about the spread between replicates: its interval is every positive ratio, low = 0.0 and
    high = inf. (A record, which cannot hold inf, then carries no interval at all.)

    `first`: the spread of so many replicates decided how many there were to be (`wants_more`); s and the P − 1 are
    then theirs alone. So chosen, P tells nothing about the mean, and the interval stays exact (Stein 1945, Annals of
    Mathematical Statistics 16); with the s of all P it holds in 93% of the cases (docs/measurement.md).

    Raises ValueError for no replicates, for log-ratios that are not finite, and for a `first` below 1.
    """
    summary = log_mean(d, first=first)
    if summary.variance is None:
        return Estimate(value=exp(summary.mean), low=0.0, high=math.inf)
    return _interval(summary.mean, math.sqrt(summary.variance), summary.degrees)


def wants_more(d: Sequence[float], *, half_width: float = 0.01, most: int = 10) -> bool:
    """Whether another replicate should follow those whose log-ratios are `d`: at least 5 are taken, at most `most`.

    From the fifth on, as long as the interval that `speedup_estimate(d, first=5)` would give reaches further than
    `half_width` (relative: 0.01 is 1%) above the speedup. Stein's (1945) rule: the width is t(.975, 4)·s₅/√P with the
    spread s₅ of the first five alone, so neither the later values nor the speedup itself can end the search, only
    their number. Raises ValueError for log-ratios that are not finite.
    """
    if len(d) >= most:
        return False
    if len(d) < FIRST_REPLICATES:
        return True
    known = log_mean(d, first=FIRST_REPLICATES)
    return t_quantile(known.degrees) * math.sqrt(known.variance or 0.0) > math.log1p(half_width)


def is_bimodal(values: Sequence[float], *, least_apart: float = 0.01) -> bool:
    """Whether log-ratios (the d_p of 5 to 10 replicates, the blocks of one replicate) come from two modes.

    Of all ways to split the sorted values in two groups of at least two, the best has the greatest ratio of the
    sum of squares between the groups to that within (Engelman and Hartigan 1969, Journal of the American Statistical
    Association 64). It counts where normal values of any spread would reach that ratio in less than 1% of the cases,
    and where the groups' means lie at least `least_apart` apart: two neighbouring readings of a clock are no modes.
    One value away from all others is an outlier, not a mode. False below five values, which show nothing.

    Two modes 5% apart under noise of 0.5% are found among ten replicates in 97% of the cases, among five in 29%:
    with three degrees of freedom within the groups little more can be said (docs/measurement.md). Blocks of several
    replicates are not for one call: their processes differ anyway. Raises ValueError for values that are not finite.
    """
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a log-ratio is not finite")
    ordered = sorted(values)
    sizes = [size for size in _SPLIT_LIMITS if size <= len(ordered)]
    if not sizes:
        return False
    limit = _SPLIT_LIMITS[max(sizes)]
    splits = range(_LEAST_OF_A_MODE, len(ordered) - _LEAST_OF_A_MODE + 1)
    return any(_apart(ordered[:at], ordered[at:], limit=limit, least=least_apart) for at in splits)


def _apart(lower: Sequence[float], upper: Sequence[float], *, limit: float, least: float) -> bool:
    below, above = statistics.fmean(lower), statistics.fmean(upper)
    between = (above - below) ** 2 * len(lower) * len(upper) / (len(lower) + len(upper))
    within = math.fsum((x - below) ** 2 for x in lower) + math.fsum((x - above) ** 2 for x in upper)
    return above - below >= least and between > limit * within


def geometric_mean(values: Sequence[float]) -> float:
    """exp(mean ln v) of positive ratios. Raises ValueError when there are none, or one is not positive."""
    if not values:
        raise ValueError("no values")
    if not all(0 < value < math.inf for value in values):
        raise ValueError("a geometric mean needs positive, finite values")
    return math.exp(statistics.fmean(math.log(value) for value in values))


def pooled_ratio(parts: Sequence[LogMean]) -> Estimate:
    """The geometric mean of exp(part.mean) with a 95% interval from the parts' own measurement errors.

    It answers "how well is the mean over *these* problems known?"; it says nothing of other problems.
    Variance of the mean of n independent parts: Σ vᵢ / n², degrees of freedom after Welch and Satterthwaite.
    Where a part's variance is unknown the interval is (0, inf), as in `speedup_estimate`.
    """
    if not parts:
        raise ValueError("no values")
    mean = statistics.fmean(part.mean for part in parts)
    variances = [part.variance for part in parts if part.variance is not None]
    if len(variances) < len(parts):
        return Estimate(value=exp(mean), low=0.0, high=math.inf)
    degrees = _welch_degrees([(part.variance or 0.0, part.degrees) for part in parts])
    return _interval(mean, math.sqrt(sum(variances)) / len(parts), degrees)


@dataclass(frozen=True, kw_only=True)
class LogMean:
    """A mean log-ratio and how well it is known."""

    mean: float
    variance: float | None
    """Variance *of the mean* (s²/P), or None where there is no evidence about it."""
    degrees: float
    """Degrees of freedom of that variance (P − 1, or fewer: see `log_mean`); 0 where it is None."""
    count: int | None = None
    """P, where it is not one more than the degrees of freedom."""

    @property
    def replicates(self) -> int:
        """P."""
        return round(self.degrees) + 1 if self.count is None else self.count


def log_mean(d: Sequence[float], *, first: int | None = None) -> LogMean:
    """Mean, s²/P and P − 1 of the replicates' log-ratios; the variance of a single one is unknown (None).

    `first`: s² and its degrees of freedom come from so many replicates at the beginning, as in `speedup_estimate`.
    """
    if not d:
        raise ValueError("no replicates")
    if not all(math.isfinite(value) for value in d):
        raise ValueError("a replicate's log-ratio is not finite")
    if first is not None and first < 1:
        raise ValueError(f"the first {first} replicates")
    mean = statistics.fmean(d)
    known = d[:first]
    if len(known) == 1:
        return LogMean(mean=mean, variance=None, degrees=0.0)
    centre = statistics.fmean(known)
    spread = math.fsum((x - centre) ** 2 for x in known) / (len(known) - 1)  # ten times as fast as `variance`
    count = len(d) if len(known) < len(d) else None
    return LogMean(mean=mean, variance=spread / len(d), degrees=len(known) - 1.0, count=count)


def log_mean_from_interval(estimate: Estimate, replicates: int) -> LogMean:
    """Undo `speedup_estimate`: the standard error behind an interval of known value, low and high.

    For records that carry no replicate log-ratios. Unknown variance where the interval is unbounded or P < 2.
    """
    mean = math.log(estimate.value)
    if replicates < 2 or estimate.low <= 0 or math.isinf(estimate.high):
        return LogMean(mean=mean, variance=None, degrees=0.0)
    half = (math.log(estimate.high) - math.log(estimate.low)) / 2
    degrees = replicates - 1.0
    return LogMean(mean=mean, variance=(half / t_quantile(degrees)) ** 2, degrees=degrees)


@dataclass(frozen=True, kw_only=True)
class RunNoise:
    """τ², the variance a log-ratio has from one run to the next beyond what replicates within a run show."""

    variance: float = 0.0
    degrees: float = 0.0
    rows: int = 0
    """Unchanged rows it was estimated from; 0 where there were too few and τ² = 0 was taken."""
    left_out: tuple[int, ...] = ()
    """Of these, by index, the outliers that did not count towards τ²."""


def run_noise(deltas: Sequence[float], variances: Sequence[float]) -> RunNoise:
    """Estimate τ² from rows whose files did not change, so that their true difference is zero.

    `deltas` are the rows' Dᵢ, `variances` their within-run variances vᵢ. By moments E[D²] = v + τ², so
    τ² = max(0, mean(D² − v)), after leaving out rows beyond 4 robust standard deviations (from
    median(D²)/0.4549). Without the trimming, two rows that really moved among thirty inflate τ² until nothing
    is significant (in simulation the power for a 10% slowdown fell from 1.00 to 0.00). 0.6 degrees of freedom
    a row kept the family-wise error near 5% there (0.02 to 0.09). Fewer than four rows: τ² = 0.
    """
    if len(deltas) != len(variances):
        raise ValueError("one variance for each difference")
    if len(deltas) < MIN_UNCHANGED_ROWS:
        return RunNoise()
    squares = [delta * delta for delta in deltas]
    robust = math.sqrt(statistics.median(squares) / _CHI2_1_MEDIAN)
    cut = _TRIM_AT_SD * max(robust, math.sqrt(statistics.median(variances)))
    excess = [square - v for delta, square, v in zip(deltas, squares, variances, strict=True) if abs(delta) <= cut]
    return RunNoise(
        variance=max(0.0, statistics.fmean(excess)), degrees=max(1.0, _DEGREES_PER_ROW * len(excess)),
        rows=len(deltas), left_out=tuple(i for i, delta in enumerate(deltas) if abs(delta) > cut),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Difference:
    """new − old of two mean log-ratios (natural log): its 95% interval and its two-sided p-value."""

    delta: float
    low: float
    high: float
    variance: float | None
    degrees: float
    p_value: float | None
    """None where nothing is known about the noise; the interval is then unbounded."""


def log_difference(old: LogMean, new: LogMean, noise: RunNoise | None = None) -> LogMean:
    """D = new − old with variance v_old + v_new + τ² and Satterthwaite's degrees of freedom.

    Welch (1947), Biometrika 34. Where one side had a single replicate the other side's variance per mean
    stands in for it; where both had, nothing is known.
    """
    noise = noise or RunNoise()
    delta = new.mean - old.mean
    known = [(side.variance, side.degrees) for side in (old, new) if side.variance is not None]
    if not known:
        return LogMean(mean=delta, variance=None, degrees=0.0)
    if len(known) == 1:
        # s²/P + s²/1, all of it resting on the one side's P − 1 degrees of freedom.
        within, degrees = known[0]
        known = [(within * (degrees + 2), degrees)]
    parts = [*known, (noise.variance, noise.degrees)]
    return LogMean(mean=delta, variance=sum(part for part, _ in parts), degrees=_welch_degrees(parts))


def difference(old: LogMean, new: LogMean, noise: RunNoise | None = None) -> Difference:
    """Welch's test of D = new − old: its interval and p-value, from the variance of `log_difference`."""
    found = log_difference(old, new, noise)
    if found.variance is None:
        return Difference(delta=found.mean, low=-math.inf, high=math.inf, variance=None, degrees=0.0, p_value=None)
    delta, variance, degrees = found.mean, found.variance, found.degrees
    error = math.sqrt(variance)
    half = t_quantile(degrees) * error
    return Difference(
        delta=delta, low=delta - half, high=delta + half, variance=variance, degrees=degrees,
        p_value=_two_sided_p(delta, error, degrees),
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's (1979) step-down adjusted p-values, in the order given: they control the family-wise error.

    Sorted ascending, p̃₍ᵢ₎ = max over j ≤ i of min(1, (n − j + 1)·p₍ⱼ₎). Raises ValueError outside [0, 1].
    """
    if not all(0.0 <= p <= 1.0 for p in p_values):
        raise ValueError("a p-value lies outside 0 to 1")
    count = len(p_values)
    adjusted = [0.0] * count
    running = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def holm_cutoff(others: Sequence[float], level: float) -> float:
    """Below which p-value one more hypothesis, beside those of `others`, has an adjusted p-value below `level`.

    Holm's (1979) procedure rejects step by step: of n hypotheses the k-th smallest p-value while it is below
    level/(n − k + 1). With k others rejected in front of it the one more needs p < level/(n − k).
    """
    count = len(others) + 1
    rejected = 0
    for p in sorted(others):
        if (count - rejected) * p >= level:
            break
        rejected += 1
    return level / (count - rejected)


def deviations(d: Sequence[float]) -> tuple[float, ...]:
    """The replicates' ratios relative to their geometric mean, ascending: exp(d_p − mean d) − 1; -0.01 is 1% below."""
    if not d:
        return ()
    mean = statistics.fmean(d)
    return tuple(exp(value - mean) - 1 for value in sorted(d))


def t_quantile(degrees: float, confidence: float = CONFIDENCE) -> float:
    """The two-sided critical value of Student's t: t((1 + confidence)/2, degrees)."""
    from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

    return float(stdtrit(degrees, (1 + confidence) / 2))


def _two_sided_p(delta: float, error: float, degrees: float) -> float:
    if error == 0.0:
        return 1.0 if delta == 0.0 else 0.0
    from scipy.special import stdtr  # type: ignore[import-untyped, unused-ignore]

    return float(2 * stdtr(degrees, -abs(delta) / error))


def _welch_degrees(parts: Sequence[tuple[float, float]]) -> float:
    """(Σ v)² / Σ(v²/ν) over the parts (variance v, degrees ν); parts without variance do not count."""
    spread = sum(v * v / degrees for v, degrees in parts if v > 0)
    if spread == 0.0:
        # No part varied, so any ν gives an interval of width zero.
        return max(degrees for _, degrees in parts)
    return float(sum(v for v, _ in parts) ** 2 / spread)


def _interval(mean: float, error: float, degrees: float) -> Estimate:
    half = t_quantile(degrees) * error
    return Estimate(value=exp(mean), low=exp(mean - half), high=exp(mean + half))


def exp(x: float) -> float:
    """e^x, and inf where that is past the largest float (two wild replicates can have such an interval)."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
