"""Recorded samples to the figures of a record."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import pytest

from kbench.measure.summary import Taken, summarise
from kbench.model import Sample
from kbench.stats import t_quantile

Times = Mapping[str, Sequence[Sequence[Sequence[float]]]]
"""Side, replicate, block: times in ms."""


def samples_of(times: Times) -> list[Sample]:
    return [
        Sample(
            replicate=p, block=b, position=0, side=side, claimed_ns=1.0, enqueue_ns=ms * 1e5, window_ns=1.0, calls=1,
            time_ns=ms * 1e6, flags=("odd",) if side == "eager" else (),
        )
        for side, replicates in times.items()
        for p, blocks in enumerate(replicates)
        for b, block in enumerate(blocks)
        for ms in block
    ]  # fmt: skip


def taken(times: Times, *, verified: int = 0) -> Taken:
    wall_ns = {"eager": [3e6, 9e6, 5e6], "compile": [1e6], "solution": [2e6, 4e6]}
    return Taken(samples=tuple(samples_of(times)), wall_ns=wall_ns, timed_calls=20, verified_calls=verified)


RECORDED: Times = {
    "eager": [[[4.0, 4.0, 100.0], [8.0]], [[2.0], [2.0, 2.0]]],
    "compile": [[[2.0], [4.0]], [[1.0], [1.0]]],
    "solution": [[[2.0], [2.0, 1.0, 50.0]], [[0.5, 0.5], [1.0]]],
}


def test_the_speedup_is_the_mean_of_the_replicates_median_log_ratios() -> None:
    measured, logs = summarise(taken(RECORDED, verified=9), baselines=("eager", "compile"), floor=0.3)
    # Blocks of replicate 0: 4/2 and 8/2; of replicate 1: 2/0.5 and 2/1.
    expected = [statistics.median([math.log(2), math.log(4)]), statistics.median([math.log(4), math.log(2)])]
    assert logs == pytest.approx(expected)
    assert measured.speedup.value == pytest.approx(math.exp(statistics.mean(expected)))
    assert measured.speedup.low == pytest.approx(measured.speedup.value)
    assert (measured.replicates, measured.timed_calls, measured.verified_calls) == (2, 20, 9)


def test_times_are_medians_over_blocks_of_medians_within() -> None:
    measured, _ = summarise(taken(RECORDED), baselines=("eager", "compile"), floor=0.3)
    assert measured.reference_ms == pytest.approx(3.0)  # of 4, 8, 2, 2
    assert measured.time_ms == pytest.approx(1.5)  # of 2, 2, 0.5, 1
    assert measured.sol_fraction == pytest.approx(0.3 / 1.5)


def test_a_further_baseline_has_figures_of_its_own() -> None:
    measured, _ = summarise(taken(RECORDED), baselines=("eager", "compile"), floor=None)
    assert set(measured.baselines) == {"compile"}
    further = measured.baselines["compile"]
    assert further["time_ms"] == pytest.approx(1.5)
    assert further["speedup"] == pytest.approx(math.exp(0.5 * math.log(2)))  # medians: 1, 2 and 2, 1
    assert measured.sol_fraction is None and measured.floor_ms is None


def test_what_the_host_does_is_told_of_every_side() -> None:
    measured, _ = summarise(taken(RECORDED), baselines=("eager", "compile"), floor=None)
    assert set(measured.host) == {"solution", "eager", "compile"}
    assert measured.host["solution"] == pytest.approx({"wall_ms": 3.0, "enqueue_ms": 0.1})  # of .2 .2 .1 5 .05 .05 .1
    assert measured.host["eager"] == pytest.approx({"wall_ms": 5.0, "enqueue_ms": 0.4})


def test_the_interval_is_students_over_replicates() -> None:
    d = [0.1, 0.3, 0.2]
    times = {"eager": [[[math.exp(x)]] for x in d], "solution": [[[1.0]]] * 3}
    measured, logs = summarise(taken(times), baselines=("eager",), floor=None)
    assert logs == pytest.approx(d)
    half = t_quantile(2) * statistics.stdev(d) / math.sqrt(3)
    assert measured.speedup.low == pytest.approx(math.exp(0.2 - half))
    assert measured.speedup.high == pytest.approx(math.exp(0.2 + half))


def test_one_replicate_bounds_nothing() -> None:
    measured, _ = summarise(taken({"eager": [[[2.0]]], "solution": [[[1.0]]]}), baselines=("eager",), floor=None)
    assert measured.speedup.value == pytest.approx(2.0)
    assert (measured.speedup.low, measured.speedup.high) == (0.0, math.inf)


def test_only_the_solutions_flags_are_the_measurements() -> None:
    measured, _ = summarise(taken(RECORDED), baselines=("eager",), floor=None)
    assert measured.flags == ()


def test_all_samples_are_kept() -> None:
    samples = taken(RECORDED)
    assert summarise(samples, baselines=("eager",), floor=None)[0].samples == samples.samples
