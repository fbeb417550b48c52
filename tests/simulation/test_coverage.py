"""A 95% interval holds the true speedup in 95 of 100 measurements, whatever the noise is made of."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kbench.stats import speedup_estimate
from simulation import stopping, study
from simulation.fast import covered, generator, log_ratios
from simulation.noise import SCENARIOS, Scenario, Timeline, drifting
from simulation.path import pace_of

BAND = (0.93, 0.97)
_CONTROL = 40


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_intervals_are_true(scenario: Scenario) -> None:
    found = study.coverage_of(scenario, draws=study.FULL.coverage)
    for share in (found.five, found.ten, found.stopped):
        assert BAND[0] <= share <= BAND[1]


class FixedOrder(Timeline):
    """The reference's two visits of a block, then the solution's, in every replicate."""

    @property
    def solutions_turn(self) -> NDArray[np.bool_]:
        return np.broadcast_to(np.array([False, False, True, True])[:, None], self.shape)


def test_without_abba_a_drift_would_pass_for_a_speedup() -> None:
    """The band is not kept by whatever is thrown at it."""
    scenario = next(each for each in SCENARIOS if each.model is drifting)
    recorded = pace_of(scenario).samples_per_visit
    shares = {}
    for order in (Timeline, FixedOrder):
        timeline = order(draws=500, replicates=5, blocks=10, recorded=recorded)
        d = log_ratios(scenario, drifting(generator(_CONTROL), timeline), timeline, calls=1)
        shares[order] = covered([speedup_estimate(row) for row in d.tolist()], scenario.speedup)
    assert shares[FixedOrder] < 0.87 < BAND[0] <= shares[Timeline]


def test_only_noise_between_processes_asks_for_more_replicates() -> None:
    used = {scenario.name: study.coverage_of(scenario, draws=study.FULL.coverage).used for scenario in SCENARIOS}
    assert used.pop("by process") > 6
    assert all(count == 5 for count in used.values())


def test_the_stopping_rule_is_exact_at_every_spread() -> None:
    """Within three standard errors of 20,000 draws; the worst of nine spreads."""
    worst, _ = study.worst_of(stopping.RULES[stopping.CHOSEN], draws=study.FULL.stopping)
    assert worst == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("name", ["one by one, spread of all", "five more or none, spread of all"])
def test_why_the_spread_of_all_replicates_does_not_serve(name: str) -> None:
    """Whoever stops when the interval happens to be narrow has intervals that are too narrow."""
    worst, _ = study.worst_of(stopping.RULES[name], draws=study.FULL.stopping)
    assert worst < 0.94
