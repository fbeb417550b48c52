"""When to take another replicate: the rule of `stats.wants_more`, and the rules it was chosen over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from kbench import stats
from kbench.model import Estimate

FIRST, MOST = stats.FIRST_REPLICATES, 10
HALF_WIDTH = math.log1p(0.01)
SPREADS = (0.005, 0.007, 0.009, 0.011, 0.013, 0.015, 0.018, 0.022, 0.03)
"""Of log-ratios between replicates, around those at which five of them are just enough."""

Array = NDArray[np.float64]


def stopped(d: Sequence[float]) -> list[float]:
    """The replicates that `wants_more` would have taken, of ten that there could be."""
    taken: list[float] = []
    while stats.wants_more(taken):
        taken.append(d[len(taken)])
    return taken


def estimated(d: Sequence[float]) -> Estimate:
    """The estimate over replicates that were stopped by the rule."""
    return stats.speedup_estimate(stopped(d), first=FIRST)


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """What a rule makes of many draws of replicates with a true log-ratio of 0."""

    used: Array
    half: Array
    """Half-width of the interval in log-ratio."""
    covered: NDArray[np.bool_]


Rule = Callable[[Array], Stopped]
"""Takes log-ratios by draw and replicate, ten of each."""


def _half(d: Array, count: int, *, known: int | None = None) -> Array:
    known = known or count
    quantile = stdtrit(known - 1, 0.975)
    return np.asarray(quantile * d[:, :known].std(axis=1, ddof=1) / math.sqrt(count))


def _result(d: Array, halves: Mapping[int, Array], used: NDArray[np.int64]) -> Stopped:
    half, mean = np.zeros(len(d)), np.zeros(len(d))
    for count, each in halves.items():
        own = used == count
        half[own], mean[own] = each[own], d[own, :count].mean(axis=1)
    return Stopped(used=used.astype(float), half=half, covered=np.abs(mean) <= half)


def always(d: Array, *, count: int) -> Stopped:
    """No rule at all."""
    return _result(d, {count: _half(d, count)}, np.full(len(d), count))


def one_by_one(d: Array, *, known: int | None = None) -> Stopped:
    """Stop as soon as the interval is narrow enough; `known`: its spread is that of so many replicates."""
    halves = {count: _half(d, count, known=known) for count in range(FIRST, MOST + 1)}
    used = np.full(len(d), MOST)
    for count in range(MOST - 1, FIRST - 1, -1):
        used[halves[count] <= HALF_WIDTH] = count
    return _result(d, halves, used)


def once(d: Array, *, known: int | None = None, factor: float = 1.0) -> Stopped:
    """Look at the fifth, and take five more or none; every interval is widened by `factor`."""
    halves = {FIRST: factor * _half(d, FIRST), MOST: factor * _half(d, MOST, known=known)}
    return _result(d, halves, np.where(halves[FIRST] <= HALF_WIDTH, FIRST, MOST))


CHOSEN = "one by one, spread of the first five (`wants_more`)"
RULES: Mapping[str, Rule] = {
    "always 5": partial(always, count=FIRST),
    "always 10": partial(always, count=MOST),
    "one by one, spread of all": one_by_one,
    "five more or none, spread of all": once,
    "five more or none, spread of all, all intervals wider by 5%": partial(once, factor=1.05),
    "five more or none, spread of all, all intervals wider by 10%": partial(once, factor=1.1),
    "five more or none, spread of the first five": partial(once, known=FIRST),
    CHOSEN: partial(one_by_one, known=FIRST),
}
