"""The same figures for thousands of draws at once; `test_paths.py` holds them against the way through the real code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kbench.model import Estimate
from simulation.noise import Factors, Scenario, Timeline, quantised_ns

Array = NDArray[np.float64]
SEED = 20_260_504


def log_ratios(scenario: Scenario, factors: Factors, timeline: Timeline, *, calls: int) -> Array:
    """d_p by draw and replicate, as `stats.replicate_log_ratio` has it, of samples of `calls` calls."""
    turns = timeline.solutions_turn
    reference = _block_medians(factors, ~turns, scenario.reference_ns, scenario.quantum_ns, calls)
    solution = _block_medians(factors, turns, scenario.solution_ns, scenario.quantum_ns, calls)
    return np.asarray(np.median(np.log(reference / solution), axis=-1))


def _block_medians(factors: Factors, turns: NDArray[np.bool_], call_ns: float, quantum_ns: float, calls: int) -> Array:
    draws, replicates, blocks = factors.shape[:3]
    recorded = factors[..., 1:][turns[..., 1:]].reshape(draws, replicates, blocks, -1)
    return np.asarray(np.median(quantised_ns(calls * call_ns * recorded, quantum_ns) / calls, axis=-1))


def covered(intervals: Sequence[Estimate], speedup: float) -> float:
    """The share of intervals that hold the true speedup."""
    return sum(each.low <= speedup <= each.high for each in intervals) / len(intervals)


def generator(*key: int) -> np.random.Generator:
    """A generator of its own for each key."""
    return np.random.default_rng([SEED, *key])
