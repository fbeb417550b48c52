"""The arithmetic behind the benchmarks' tables: plain numbers in, plain numbers and markdown out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, the others are what they are."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """The seconds a whole batch takes one after the other, from those of its candidates that were measured."""

    wall_s: float
    measured: int
    of: int


def scaled_by_kind(seconds: Mapping[str, Sequence[float]], counts: Mapping[str, int]) -> Scaled:
    """For every kind its mean seconds times its number. Raises ValueError for a kind with none measured."""
    unmeasured = [kind for kind, count in counts.items() if count and not seconds.get(kind)]
    if unmeasured:
        raise ValueError(f"none of kind {unmeasured[0]} was measured")
    return Scaled(
        wall_s=sum(count * statistics.fmean(seconds[kind]) for kind, count in counts.items() if count),
        measured=sum(len(seconds[kind]) for kind, count in counts.items() if count),
        of=sum(counts.values()),
    )


def every_nth(names: Mapping[str, Sequence[str]], step: int) -> list[str]:
    """Of each kind's names the first and every `step`-th after it. Raises ValueError for a step below 1."""
    if step < 1:
        raise ValueError("a sample takes every first, second, … candidate")
    return [name for of_kind in names.values() for name in of_kind[::step]]


def device_seconds(samples: Iterable[Mapping[str, Any]]) -> float:
    """The device time of all timed samples of all sides: per call `time_ns`, times `calls`, in seconds."""
    return float(sum(sample["time_ns"] * sample["calls"] for sample in samples)) / 1e9


def build_seconds(records: Iterable[Mapping[str, Any]]) -> float:
    """What was spent on builds that were not in the cache, added up over builds that may have run side by side."""
    return float(sum(record["build_s"] or 0.0 for record in records if not record["cached"]))


def overhead_s(*, wall_s: float, build_s: float, device_s: float, count: int) -> float:
    """Seconds per candidate that went neither into builds nor into the timed calls themselves."""
    return (wall_s - build_s - device_s) / count


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of times with its 95% interval."""

    value: float
    low: float
    high: float

    def text(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def ratio_of_times(new: Sequence[float], old: Sequence[float]) -> Ratio:
    """exp of the difference of mean logs, with Welch's interval; each value is one replicate's time.

    Raises ValueError for fewer than two replicates on either side: one says nothing of the spread.
    """
    from scipy import stats

    if min(len(new), len(old)) < 2:
        raise ValueError("an interval takes two replicates on either side")
    a, b = ([math.log(value) for value in values] for values in (new, old))
    difference = statistics.fmean(a) - statistics.fmean(b)
    shares = [statistics.variance(values) / len(values) for values in (a, b)]
    error = math.sqrt(sum(shares))
    if error == 0.0:
        return Ratio(value=math.exp(difference), low=math.exp(difference), high=math.exp(difference))
    freedom = sum(shares) ** 2 / sum(s**2 / (len(v) - 1) for s, v in zip(shares, (a, b), strict=True))
    half = float(stats.t.ppf(0.975, freedom)) * error
    return Ratio(value=math.exp(difference), low=math.exp(difference - half), high=math.exp(difference + half))


def replicate_times(samples: Iterable[Mapping[str, Any]], side: str) -> dict[str, list[float]]:
    """By `problem/solution`, the median `time_ns` of a side's samples in each replicate, in order."""
    taken: dict[str, dict[int, list[float]]] = {}
    for sample in samples:
        if sample["side"] == side:
            of_pair = taken.setdefault(f"{sample['problem']}/{sample['solution']}", {})
            of_pair.setdefault(sample["replicate"], []).append(sample["time_ns"])
    return {name: [statistics.median(of[n]) for n in sorted(of)] for name, of in taken.items()}


Span = tuple[float, float]
"""From when until when, in seconds of one clock."""


def meeting(span: Span, others: Iterable[Span]) -> int:
    """How many of the others share some time with a span."""
    return sum(begin < span[1] and span[0] < end for begin, end in others)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the speedups of one run lie to those of another."""

    rows: int
    """Correct in both."""
    overlapping: int
    """Whose 95% intervals meet."""
    largest: float
    """Difference between two speedups of one row, as a share."""


def agreement(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> Agreement:
    """Compare two runs' records row by row; only rows with an interval in both count."""
    found = {(r["problem"], r["solution"]): r for r in one if r["speedup_low"] is not None}
    pairs = [
        (found[r["problem"], r["solution"]], r)
        for r in other
        if r["speedup_low"] is not None and (r["problem"], r["solution"]) in found
    ]
    return Agreement(
        rows=len(pairs),
        overlapping=sum(_meet(a, b) for a, b in pairs),
        largest=max((abs(b["speedup"] / a["speedup"] - 1.0) for a, b in pairs), default=0.0),
    )


def _meet(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["speedup_low"] <= other["speedup_high"] and other["speedup_low"] <= one["speedup_high"])
