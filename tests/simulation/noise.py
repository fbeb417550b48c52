"""How the times of calls vary: each model a pure function of a generator, with the source of its figures.

The figures are those of one NVIDIA H200 (docs/measurement.md, "Where the noise comes from"), except where a model says
that nothing was measured and a figure was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter  # type: ignore[import-untyped, unused-ignore]

from kbench.config import BLOCKS, RunOptions
from kbench.measure.sampling import Budget
from kbench.model import Device

Factors = NDArray[np.float64]
"""What calls take, as a factor of what they would without noise: by draw, replicate, block, visit (0 to 3 of ABBA) and
call of a visit, of which the first is the one that is not recorded. In the order of time from the replicate on."""

VISITS = 4
SAMPLE_SD = 0.0058
"""Samples within a process of #73 eager: CV 0.58%."""
PROCESS_SD = (0.005, 0.013)
"""Log-ratios of two identical fresh processes: 0.5 to 1.5% for an 8 us kernel, 1.26% for #73 eager."""
EVENT_QUANTUM_NS = 32.0
"""The least difference of two CUDA events."""

_RHO = 0.7
_DRIFT, _DRIFT_APART = 0.02, 0.002
_SPIKE_SHARE, _SPIKE_FACTORS = 0.02, (1.5, 10.0)


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """How many calls there are to give a time to, and whose they are."""

    draws: int
    replicates: int
    blocks: int
    recorded: int
    """Samples of a visit, not counting its first call."""

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return (self.draws, self.replicates, self.blocks, VISITS, 1 + self.recorded)

    @property
    def solutions_turn(self) -> NDArray[np.bool_]:
        """Where the solution is timed, in the shape of the factors.

        Like `take_samples`: of two sides the solution begins in even replicates, the reference in odd ones.
        """
        outer = np.array([True, False, False, True])
        begins = np.arange(self.replicates) % 2 == 0
        own = np.where(begins[:, None], outer, ~outer)
        return np.broadcast_to(own[None, :, None, :, None], self.shape)


Model = Callable[[np.random.Generator, Timeline], Factors]


def independent(rng: np.random.Generator, timeline: Timeline, *, sd: float = SAMPLE_SD) -> Factors:
    """Every sample by itself, log-normal, 0.58%."""
    return np.asarray(np.exp(rng.normal(0.0, sd, timeline.shape)))


def lasting(rng: np.random.Generator, timeline: Timeline) -> Factors:
    """What disturbs a sample disturbs the next ones too, whosever they are: AR(1), rho 0.7, 0.58% in all.

    No figure was measured for rho; 0.7 makes a disturbance last about three samples, the length of a visit.
    """
    innovations = rng.normal(0.0, SAMPLE_SD * math.sqrt(1 - _RHO**2), timeline.shape)
    by_time = innovations.reshape(timeline.draws, timeline.replicates, -1)
    by_time[..., 0] /= math.sqrt(1 - _RHO**2)
    return np.asarray(np.exp(lfilter([1.0], [1.0, -_RHO], by_time, axis=-1)).reshape(timeline.shape))


def drifting(rng: np.random.Generator, timeline: Timeline) -> Factors:
    """Clocks fall steadily by 2% over a replicate, and by 0.2% more for the solution; beside it 0.58% by sample.

    No drift was measured; the figures are chosen to be several times the width of the intervals. The true speedup is
    that in the middle of the replicate.
    """
    calls = math.prod(timeline.shape[2:])
    place = (np.arange(calls) / (calls - 1) - 0.5).reshape(timeline.shape[2:])
    share = np.where(timeline.solutions_turn, _DRIFT + _DRIFT_APART, _DRIFT)
    return np.asarray(independent(rng, timeline) * np.exp(share * place))


def by_process(rng: np.random.Generator, timeline: Timeline) -> Factors:
    """Every fresh process has a factor of its own, so that log-ratios of replicates spread by 0.5 to 1.3%.

    How much is drawn for each draw, as problems differ; half of the variance is each process's. Beside it 0.58% by
    sample.
    """
    apart = rng.uniform(*PROCESS_SD, (timeline.draws, 1)) / math.sqrt(2)
    reference, solution = (np.exp(apart * rng.normal(0.0, 1.0, (timeline.draws, timeline.replicates))) for _ in "rs")
    own = np.where(timeline.solutions_turn, solution[:, :, None, None, None], reference[:, :, None, None, None])
    return independent(rng, timeline) * own


def interrupted(rng: np.random.Generator, timeline: Timeline) -> Factors:
    """2% of the samples take 1.5 to 10 times as long; beside it 0.58% by sample.

    Of 1,800 samples of the committed CPU run 1.9% took more than 1.5 times their block's median, and of 3,400 of the
    H200's 0.06%.
    """
    hit = rng.random(timeline.shape) < _SPIKE_SHARE
    return independent(rng, timeline) * np.where(hit, rng.uniform(*_SPIKE_FACTORS, timeline.shape), 1.0)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A solution and its reference, and how their times vary."""

    name: str
    model: Model
    reference_ns: float = 5.84e6
    solution_ns: float = 3.46e6
    """Without noise. As they stand: #21 eager and its fused solution on one H200, which get the fewest samples."""
    quantum_ns: float = 0.0

    @property
    def speedup(self) -> float:
        return self.reference_ns / self.solution_ns


SCENARIOS = (
    Scenario(name="independent", model=independent),
    Scenario(name="lasting", model=lasting),
    Scenario(name="drifting", model=drifting),
    Scenario(name="by process", model=by_process),
    Scenario(name="interrupted", model=interrupted),
    Scenario(
        name="quantised", model=independent, reference_ns=8e3, solution_ns=5e3, quantum_ns=EVENT_QUANTUM_NS
    ),
)

BUDGET = Budget(
    blocks=BLOCKS[Device.CUDA], min_samples=RunOptions.min_samples, min_block_ns=RunOptions.min_block_ms * 1e6,
    least_sample_ns=2e6, most_calls=1000,
)  # fmt: skip
"""What `kbench run` takes by default on CUDA, where memory allows for 1,000 sets of inputs."""


def quantised_ns(times_ns: NDArray[np.float64], quantum_ns: float) -> NDArray[np.float64]:
    """Times as a clock of that quantum shows them (0: as they are)."""
    return np.round(times_ns / quantum_ns) * quantum_ns if quantum_ns else times_ns
