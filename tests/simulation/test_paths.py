"""The short way to the figures of thousands of draws gives what the real code gives."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from kbench import stats
from simulation import stopping
from simulation.fast import covered, generator, log_ratios
from simulation.noise import BUDGET, EVENT_QUANTUM_NS, SCENARIOS, VISITS, Scenario, lasting
from simulation.path import measured, pace_of, timeline_of

DRAWS = 36
_PATHS, _ORDER = 10, 11


@pytest.mark.parametrize("index", range(len(SCENARIOS)), ids=[s.name for s in SCENARIOS])
def test_both_ways_agree_draw_by_draw(index: int) -> None:
    scenario = SCENARIOS[index]
    timeline = timeline_of(scenario, draws=DRAWS)
    factors = scenario.model(generator(_PATHS, index), timeline)
    short = log_ratios(scenario, factors, timeline, calls=pace_of(scenario).calls)
    estimates = []
    for draw in range(DRAWS):
        rng = generator(_PATHS, index, draw)
        measurement, d = measured(scenario, factors, timeline, draw=draw, rng=rng)
        # Calls in a sample follow from the warm-up's own noise, and with them where the quantum falls.
        quantum = scenario.quantum_ns / BUDGET.least_sample_ns
        assert d == pytest.approx(short[draw], abs=2 * quantum + 1e-9)
        expected = stats.speedup_estimate(short[draw].tolist())
        assert measurement.speedup.low == pytest.approx(expected.low, rel=2 * quantum + 1e-6)
        assert measurement.speedup.high == pytest.approx(expected.high, rel=2 * quantum + 1e-6)
        assert measurement.flags == (("bimodal",) if stats.is_bimodal(short[draw].tolist()) else ())
        estimates.append(measurement.speedup)
    assert covered(estimates, scenario.speedup) >= 0.75  # of 36 draws; test_coverage.py has enough of them


def test_the_short_way_takes_the_samples_medians_as_stats_does() -> None:
    """Also for noise that none of the scenarios has, and for an even and an odd number of samples."""
    for recorded in (3, 4):
        scenario = Scenario(name="wild", model=lasting, quantum_ns=EVENT_QUANTUM_NS)
        timeline = timeline_of(scenario, draws=3, replicates=2)
        rng = generator(_ORDER, recorded)
        factors = np.exp(rng.normal(0, 0.4, (*timeline.shape[:-1], 1 + recorded)))
        turns = np.broadcast_to(timeline.solutions_turn[..., :1], factors.shape)
        short = log_ratios(scenario, factors, dataclasses.replace(timeline, recorded=recorded), calls=2)
        for draw, replicate in np.ndindex(3, 2):
            times = [
                [
                    np.round(2 * ns * block[turn][:, 1:].ravel() / 32) * 32 / 2
                    for block, turn in zip(factors[draw, replicate], own, strict=True)
                ]
                for ns, own in (
                    (scenario.reference_ns, ~turns[draw, replicate][..., 0]),
                    (scenario.solution_ns, turns[draw, replicate][..., 0]),
                )
            ]
            reference, solution = ([block.tolist() for block in side] for side in times)
            assert short[draw, replicate] == pytest.approx(stats.replicate_log_ratio(reference, solution))


def test_a_short_call_is_batched_until_the_quantum_is_nothing() -> None:
    quantised = next(s for s in SCENARIOS if s.quantum_ns)
    pace = pace_of(quantised)
    assert pace.calls * quantised.solution_ns >= 0.95 * BUDGET.least_sample_ns
    assert quantised.quantum_ns / (pace.calls * quantised.solution_ns) < 2e-5


def test_the_timeline_is_in_the_order_of_time() -> None:
    """Neighbours in time are alike where disturbances last, across visits and blocks too."""
    timeline = timeline_of(SCENARIOS[0], draws=300)
    logs = np.log(lasting(generator(_ORDER), timeline)).reshape(300 * timeline.replicates, -1)
    assert logs.shape[1] == BUDGET.blocks * VISITS * (1 + timeline.recorded)
    at_lag = [float(np.mean(logs[:, :-lag] * logs[:, lag:]) / np.mean(logs * logs)) for lag in (1, 2, 16)]
    assert at_lag == pytest.approx([0.7, 0.49, 0.7**16], abs=0.02)


def test_both_sides_are_timed_as_often_and_begin_by_turns() -> None:
    turns = timeline_of(SCENARIOS[0], draws=1, replicates=4).solutions_turn[0]
    assert [bool(own[0, 0, 0]) for own in turns] == [True, False, True, False]
    assert turns.mean(axis=(2, 3)) == pytest.approx(np.full(turns.shape[:2], 0.5))
    assert (turns[:, :, 0] == turns[:, :, 3]).all() and (turns[:, :, 1] == turns[:, :, 2]).all()


def test_the_rules_in_bulk_are_the_functions_of_stats() -> None:
    d = generator(_ORDER, 1).normal(0.0, 0.012, (300, stopping.MOST))
    bulk = stopping.RULES[stopping.CHOSEN](d)
    for row, used, half, covers in zip(d.tolist(), bulk.used, bulk.half, bulk.covered, strict=True):
        estimate = stopping.estimated(row)
        assert len(stopping.stopped(row)) == used
        assert math.log(estimate.high / estimate.low) / 2 == pytest.approx(half)
        assert (estimate.low <= 1.0 <= estimate.high) == covers
    assert 5 < bulk.used.mean() < 10
