"""Two runs side by side: which pairs got faster or slower, which broke, and whether a gate may pass.

A row is a regression when its slowdown is at least the threshold *and* significant after Holm over all rows;
a pair that was correct and is not any more always is one. Pure: values in, values out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kbench import stats
from kbench.compare.differences import EnvironmentDifference, environment_differences
from kbench.compare.row import Change, Evidence, Row, verdict_of
from kbench.model import Estimate, Record, Status
from kbench.store.runs import Key, LoadedRun
from kbench.store.summary import speedup_of

DEFAULT_THRESHOLD = 0.05
_LEAVE_ONE_OUT_ROWS = 100
_FEWEST_REFERENCES = 3
_DISAGREEMENT = 1e-3
"""Log-ratios of replicates whose mean is further than this from ln(speedup) were not written by one hand."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that can be said about two runs."""

    old: LoadedRun
    new: LoadedRun
    threshold: float
    rows: tuple[Row, ...]
    appeared: tuple[Record, ...]
    """Pairs of the new run only."""
    vanished: tuple[Record, ...]
    """Pairs of the old run only."""
    environment: tuple[EnvironmentDifference, ...]
    noise: stats.RunNoise
    """Between-run noise over all unchanged rows. (A row's own test leaves that row out of it.)"""
    old_geometric_mean: float | None
    new_geometric_mean: float | None
    """Of the speedups over the rows that were measured in both runs."""
    geometric_mean_ratio: Estimate | None
    warnings: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[Row, ...]:
        """The rows with a change, in order."""
        return tuple(row for row in self.rows if row.change is not None)

    @property
    def reference_drift(self) -> float | None:
        """New over old time of the references, in the median row; None where fewer than three were timed in both runs.

        Far from 1 where the machines differ, or their states, by more than the environments tell.
        """
        moved = [row.delta_ln_reference for row in self.rows if row.delta_ln_reference is not None]
        return stats.exp(statistics.median(moved)) if len(moved) >= _FEWEST_REFERENCES else None

    def having(self, *verdicts: Change) -> tuple[Row, ...]:
        """The rows with one of these verdicts, in order."""
        return tuple(row for row in self.rows if row.verdict in verdicts)


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two records that were both timed, as log-ratios."""

    row: Row
    old: stats.LogMean
    new: stats.LogMean


def compare_runs(old: LoadedRun, new: LoadedRun, *, threshold: float = DEFAULT_THRESHOLD) -> Comparison:
    """Compare the pairs two runs have in common. `threshold` is the least change that matters (0.05: 5%)."""
    environment = environment_differences(old, new)
    common = [(record, new.records[key]) for key, record in old.records.items() if key in new.records]
    # Where the runs as a whole differ, that is said once, and the rows are still shown.
    rows = [
        _classify(before, after, check_machine=not environment or _moved(old, before) or _moved(new, after))
        for before, after in common
    ]
    pairs = [
        _Pair(row=row, old=_log_mean(before), new=_log_mean(after))
        for row, (before, after) in zip(rows, common, strict=True)
        if row.verdict is Change.SAME
    ]
    *noise, overall = _noise(pairs)
    measured = {row.key: row for row in _judge(pairs, noise, threshold)}
    old_mean, new_mean, ratio = _geometric_means(pairs, overall.found)
    return Comparison(
        old=old, new=new, threshold=threshold, environment=environment,
        rows=tuple(measured.get(row.key, row) for row in rows),
        appeared=tuple(record for key, record in new.records.items() if key not in old.records),
        vanished=tuple(record for key, record in old.records.items() if key not in new.records),
        noise=overall.found, old_geometric_mean=old_mean, new_geometric_mean=new_mean, geometric_mean_ratio=ratio,
        warnings=(*old.warnings, *new.warnings, *_doubts(old), *_doubts(new)),
    )  # fmt: skip


def _moved(run: LoadedRun, record: Record) -> bool:
    """Whether a record was made where its run was resumed: what is said of the run's environment is not true of it."""
    return record.environment_key in [each.get("key") for each in run.later_environments]


def _classify(old: Record, new: Record, *, check_machine: bool) -> Row:
    """The row as far as the statuses go; a pair whose times can be compared is `same` until they are."""
    row = Row(
        problem=old.problem, solution=old.solution, old_status=old.status, new_status=new.status,
        verdict=Change.SAME, unchanged=_unchanged(old, new),
        old_speedup=speedup_of(old), new_speedup=speedup_of(new),
        old_log_ratios=old.replicate_log_ratios, new_log_ratios=new.replicate_log_ratios,
    )  # fmt: skip
    differing = _differing(old, new, check_machine=check_machine)
    if differing:
        return replace(row, verdict=Change.NOT_COMPARABLE, note=f"different {', '.join(differing)}")
    undecided = [
        f"{side} run: {record.status}"
        for side, record in (("old", old), ("new", new))
        if record.status in (Status.SKIPPED, Status.INFRA_ERROR)
    ]
    if undecided:
        return replace(row, verdict=Change.NOT_MEASURED, note=", ".join(undecided))
    was, now = old.status is Status.CORRECT, new.status is Status.CORRECT
    if was and not now:
        return replace(row, verdict=Change.BROKEN, note=f"{new.status}: {new.reason}" if new.reason else "")
    if not was:
        return replace(row, verdict=Change.FIXED if now else Change.STILL_FAILING)
    if row.old_speedup is None or row.new_speedup is None:
        return replace(row, verdict=Change.NOT_MEASURED, note="correct, but not timed")
    return replace(
        row, delta_ln_reference=_log_change(old.reference_ms, new.reference_ms),
        delta_ln_time=_log_change(old.time_ms, new.time_ms),
    )  # fmt: skip


def _unchanged(old: Record, new: Record) -> bool:
    pairs = ((old.problem_sha, new.problem_sha), (old.solution_sha, new.solution_sha))
    return all(before and before == after for before, after in pairs)


def _differing(old: Record, new: Record, *, check_machine: bool) -> list[str]:
    pairs: dict[str, tuple[object, object]] = {
        "problem file": (old.problem_sha, new.problem_sha),
        "size": (old.size, new.size),
        "precision": (old.precision, new.precision),
        "device": (old.device.partition(":")[0], new.device.partition(":")[0]),
    }
    if check_machine:
        pairs["machine"] = (old.environment_key, new.environment_key)
    return [name for name, (before, after) in pairs.items() if before != after]


def _log_change(old: float | None, new: float | None) -> float | None:
    return math.log(new / old) if old and new else None


def _log_mean(record: Record) -> stats.LogMean:
    """The mean log-ratio of a timed record, from its replicates or else from its interval."""
    estimate = speedup_of(record)
    assert estimate is not None  # `_classify` lets only timed records through.
    if not record.replicate_log_ratios:
        return stats.log_mean_from_interval(estimate, record.replicates)
    # The printed speedup is what people believe; where the two disagree `_doubts` says so.
    known = stats.log_mean(record.replicate_log_ratios, first=record.deciding_replicates)
    return replace(known, mean=math.log(estimate.value))


def _doubts(run: LoadedRun) -> list[str]:
    return [
        f"{run.path}: {record.id}: speedup and replicate_log_ratios disagree; the speedup is used"
        for record in run.records.values()
        if record.speedup and record.replicate_log_ratios and record.status is Status.CORRECT
        and abs(statistics.fmean(record.replicate_log_ratios) - math.log(record.speedup)) > _DISAGREEMENT
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """τ² and the rows it came from."""

    found: stats.RunNoise
    rows: tuple[Key, ...]


def _noise(pairs: Sequence[_Pair]) -> list[_Noise]:
    """Between-run noise for each pair's test, and last that over all unchanged rows.

    A row under test must not vouch for its own change, so an unchanged row is left out of its own estimate.
    Among many rows one of them weighs nothing (outliers are trimmed anyway), and the square of their number
    would.
    """
    plain = [stats.log_difference(pair.old, pair.new) for pair in pairs]
    usable = [index for index, pair in enumerate(pairs) if pair.row.unchanged and plain[index].variance is not None]
    deltas = [plain[index].mean for index in usable]
    variances = [plain[index].variance or 0.0 for index in usable]
    keys = [pairs[index].row.key for index in usable]

    def without(at: int, after: int) -> _Noise:
        """All but those from `at` up to `after`."""
        found = stats.run_noise(deltas[:at] + deltas[after:], variances[:at] + variances[after:])
        return _Noise(found=found, rows=tuple(keys[:at] + keys[after:]) if found.rows else ())

    overall = without(0, 0)
    if len(usable) > _LEAVE_ONE_OUT_ROWS:
        return [overall] * (len(pairs) + 1)
    own = {index: without(at, at + 1) for at, index in enumerate(usable)}
    return [*(own.get(index, overall) for index in range(len(pairs))), overall]


def _judge(pairs: Sequence[_Pair], noise: Sequence[_Noise], threshold: float) -> list[Row]:
    found = [stats.difference(pair.old, pair.new, own.found) for pair, own in zip(pairs, noise, strict=True)]
    p_values = {index: each.p_value for index, each in enumerate(found) if each.p_value is not None}
    adjusted = dict(zip(p_values, stats.holm(list(p_values.values())), strict=True))
    ranks = {index: rank for rank, index in enumerate(sorted(p_values, key=p_values.__getitem__), start=1)}
    return [
        _judged(
            pair.row, adjusted.get(index), threshold,
            Evidence(
                old=pair.old, new=pair.new, noise=own.found, noise_rows=own.rows, difference=difference,
                rank=ranks.get(index), tests=len(p_values),
            ),
        )
        for index, (pair, own, difference) in enumerate(zip(pairs, noise, found, strict=True))
    ]  # fmt: skip


def _judged(row: Row, adjusted: float | None, threshold: float, evidence: Evidence) -> Row:
    found = evidence.difference
    bounded = found.p_value is not None
    low, high = stats.exp(found.low) - 1, stats.exp(found.high) - 1
    # Equal to the last digit is one measurement seen twice (a run against itself), whatever its noise.
    twice = evidence.old == evidence.new
    return replace(
        row, verdict=Change.SAME if twice else verdict_of(found, adjusted, threshold),
        change=stats.exp(found.delta) - 1, p_value=found.p_value, p_adjusted=adjusted,
        change_low=low if bounded else None, change_high=high if bounded and math.isfinite(high) else None,
        note="" if bounded else "too few replicates for an interval", evidence=evidence,
    )  # fmt: skip


def _geometric_means(
    pairs: Sequence[_Pair], noise: stats.RunNoise
) -> tuple[float | None, float | None, Estimate | None]:
    """Of the old and the new speedups over the same rows, and their ratio with its measurement error."""
    if not pairs:
        return None, None, None
    parts = [stats.log_difference(pair.old, pair.new, noise) for pair in pairs]
    old = stats.geometric_mean([stats.exp(pair.old.mean) for pair in pairs])
    new = stats.geometric_mean([stats.exp(pair.new.mean) for pair in pairs])
    return old, new, stats.pooled_ratio(parts)
