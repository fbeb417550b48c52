"""From samples to the figures of a record."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kbench import stats
from kbench.machine.telemetry import PlacedReading
from kbench.measure.window import SOLUTION, TRUSTED_SIDE, flags_of
from kbench.model import Estimate, Measurement, Sample


@dataclass(frozen=True, kw_only=True)
class Taken:
    """All samples of a pair, bounded, and how many timed calls of the solution there were and were verified."""

    samples: tuple[Sample, ...]
    wall_ns: Mapping[str, Sequence[float]]
    """Per call, by side: what a caller would wait."""
    timed_calls: int
    verified_calls: int
    deciding: int | None = None
    """So many first replicates decided how many there were to be; None: that was fixed beforehand."""
    readings: tuple[PlacedReading, ...] = ()
    """Of the device, at the end of every visit."""


def summarise(taken: Taken, *, baselines: Sequence[str], floor: float | None) -> tuple[Measurement, tuple[float, ...]]:
    """The measurement that follows from the samples, and d_p of every replicate (against eager)."""
    samples = taken.samples
    logs = {name: log_ratios(samples, name) for name in baselines}
    estimates = {name: stats.speedup_estimate(values, first=taken.deciding) for name, values in logs.items()}
    time_ms = _median_ms(samples, SOLUTION)
    further = {n: _further(_median_ms(samples, n), e) for n, e in estimates.items() if n != TRUSTED_SIDE}
    measurement = Measurement(
        samples=samples,
        replicates=len(logs[TRUSTED_SIDE]),
        time_ms=time_ms,
        reference_ms=_median_ms(samples, TRUSTED_SIDE),
        speedup=estimates[TRUSTED_SIDE],
        baselines=further,
        host={name: _host(taken, name) for name in (SOLUTION, *baselines)},
        floor_ms=floor,
        sol_fraction=floor / time_ms if floor is not None else None,
        timed_calls=taken.timed_calls,
        verified_calls=taken.verified_calls,
        deciding_replicates=taken.deciding,
        flags=flags_of(samples, SOLUTION) + (("bimodal",) if stats.is_bimodal(logs[TRUSTED_SIDE]) else ()),
    )
    return measurement, logs[TRUSTED_SIDE]


def _host(taken: Taken, side: str) -> Mapping[str, float]:
    """What the host has to do with a side's calls, in ms per call."""
    enqueue_ns = [s.enqueue_ns for s in taken.samples if s.side == side and s.enqueue_ns is not None]
    times_ns = {"wall_ms": taken.wall_ns.get(side, ()), "enqueue_ms": enqueue_ns}
    return {name: statistics.median(values) / 1e6 for name, values in times_ns.items() if values}


def _further(time_ms: float, estimate: Estimate) -> Mapping[str, float]:
    return {
        "time_ms": time_ms, "speedup": estimate.value, "speedup_low": estimate.low, "speedup_high": estimate.high,
    }  # fmt: skip


def log_ratios(samples: Sequence[Sample], baseline: str) -> tuple[float, ...]:
    """d_p of each replicate: ln(time of `baseline` / time of the solution)."""
    replicates = sorted({sample.replicate for sample in samples})
    return tuple(
        stats.replicate_log_ratio(_blocks(samples, baseline, p), _blocks(samples, SOLUTION, p)) for p in replicates
    )


def _blocks(samples: Sequence[Sample], side: str, replicate: int) -> list[list[float]]:
    own = [s for s in samples if s.side == side and s.replicate == replicate]
    return [[s.time_ns for s in own if s.block == b] for b in sorted({s.block for s in own})]


def _median_ms(samples: Sequence[Sample], side: str) -> float:
    """The median over blocks of each block's median, in ms per call."""
    replicates = sorted({s.replicate for s in samples})
    return statistics.median(statistics.median(b) for p in replicates for b in _blocks(samples, side, p)) / 1e6
