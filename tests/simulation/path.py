"""The way of a number, from the first call of a warm-up to the record's figures, with sides whose times are drawn.

All of it is the code that `kbench run` goes through (warm-up, pace, ABBA, window, summary); only the processes and
their clocks are not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from kbench.measure.sampling import Pace, in_step, take_replicate, warm_up
from kbench.measure.summary import Taken, summarise
from kbench.measure.window import CUDA_SLACK, SOLUTION, TRUSTED_SIDE, bound_by_window
from kbench.model import Measurement, Sample, Timed
from simulation.noise import BUDGET, SAMPLE_SD, Factors, Scenario, Timeline, quantised_ns

_WINDOW_NS, _WINDOW_SD_NS = 12e3, 2e3
"""What the judge's window holds beside the calls: 12 us, of which 90% lie within 3 us."""
_COLD_FACTOR, _COLD_CALLS = 0.5, 3.0
"""A process begins half as fast, and is warm after some calls (chosen)."""


@dataclass
class DrawnSide:
    """A side that takes the times drawn for it; during its warm-up such as a cold process takes."""

    name: str
    call_ns: float
    """Without noise."""
    quantum_ns: float
    factors: Iterator[float]
    """Of the samples after the warm-up, unrecorded calls among them."""
    rng: np.random.Generator
    """For what is not part of the models: the warm-up and the judge's window."""
    asked: list[int] = field(default_factory=list)
    warm: bool = False

    def sample(self, *, calls: int, wall: bool = False) -> Timed:
        self.asked.append(calls)
        took_ns = calls * self.call_ns * (next(self.factors) if self.warm else self._cold())
        claimed_ns = float(quantised_ns(np.array(took_ns), self.quantum_ns))
        window_ns = took_ns + self.rng.normal(_WINDOW_NS, _WINDOW_SD_NS)
        return Timed(claimed_ns=claimed_ns, enqueue_ns=1e3, window_ns=window_ns, idle_ns=3e4, queued=True)

    def rest(self) -> None:
        self.warm = True

    def _cold(self) -> float:
        cold = 1 + _COLD_FACTOR * math.exp(-len(self.asked) / _COLD_CALLS)
        return cold * math.exp(self.rng.normal(0.0, SAMPLE_SD))


class _NoNoise(np.random.Generator):
    """Draws what is to be expected."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def normal(self, loc: float = 0.0, scale: float = 1.0, size: object = None) -> float:  # type: ignore[override]
        return loc


def _paces(sides: Sequence[DrawnSide]) -> dict[str, Pace]:
    return in_step({side.name: warm_up(side, BUDGET, trusted=side.name != SOLUTION) for side in sides})


def pace_of(scenario: Scenario) -> Pace:
    """How often the sampler will call these sides: the same for both."""
    calm = _NoNoise()
    paces = _paces(_sides(scenario, iter(()), iter(()), calm))
    assert len(set(paces.values())) == 1, f"the timeline of {scenario.name!r} has room for one pace, not for {paces}"
    return paces[SOLUTION]


def timeline_of(scenario: Scenario, *, draws: int, replicates: int = 5) -> Timeline:
    """The timeline that the sampler will follow."""
    recorded = pace_of(scenario).samples_per_visit
    return Timeline(draws=draws, replicates=replicates, blocks=BUDGET.blocks, recorded=recorded)


def measured(
    scenario: Scenario, factors: Factors, timeline: Timeline, *, draw: int, rng: np.random.Generator
) -> tuple[Measurement, tuple[float, ...]]:
    """The measurement of one draw, and d_p of its replicates."""
    samples: list[Sample] = []
    turns = timeline.solutions_turn[draw]
    for replicate in range(timeline.replicates):
        own, turn = factors[draw, replicate], turns[replicate]
        sides = _sides(scenario, iter(own[~turn].tolist()), iter(own[turn].tolist()), rng)
        order = sides[::-1] if replicate % 2 == 0 else sides
        paces = _paces(order)
        samples += take_replicate(replicate, order, paces=paces, budget=BUDGET, after=lambda *_: None).samples
    bounded = bound_by_window(samples, CUDA_SLACK)
    calls = sum(sample.calls for sample in bounded if sample.side == SOLUTION)
    taken = Taken(samples=tuple(bounded), wall_ns={}, timed_calls=calls, verified_calls=0)
    return summarise(taken, baselines=(TRUSTED_SIDE,), floor=None)


def _sides(
    scenario: Scenario, reference: Iterator[float], solution: Iterator[float], rng: np.random.Generator
) -> list[DrawnSide]:
    """The reference's side and the solution's."""
    parts = ((TRUSTED_SIDE, scenario.reference_ns, reference), (SOLUTION, scenario.solution_ns, solution))
    return [
        DrawnSide(name=name, call_ns=ns, quantum_ns=scenario.quantum_ns, factors=factors, rng=rng)
        for name, ns, factors in parts
    ]
