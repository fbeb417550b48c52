"""Two modes are seen where there are two, and in hardly any case where there is one."""

from __future__ import annotations

import pytest

from kbench import stats
from simulation import study
from simulation.fast import generator

_SKEWED = 20


@pytest.mark.parametrize("size", [5, 7, 10, 11, 20])
def test_normal_values_are_called_bimodal_in_one_of_a_hundred_cases_at_most(size: int) -> None:
    """20,000 draws have a standard error of 0.07%; sizes between the tabled ones are held to a smaller one's limit."""
    assert study.false_flags(size, draws=study.FULL.modes) <= 0.012


@pytest.mark.parametrize(("size", "power"), [(5, 0.25), (7, 0.6), (10, 0.95), (20, 0.99)])
def test_modes_five_percent_apart_are_found(size: int, power: float) -> None:
    assert study.modes_found(size, draws=study.FULL.modes).found >= power


def test_with_the_stopping_rule_they_are_found_nearly_always() -> None:
    """Two modes are a wide spread, so there will be more than five replicates, unless all five hit the same mode."""
    assert study.modes_found(None, draws=study.FULL.modes).found >= 0.85


def test_a_lonely_value_is_no_mode() -> None:
    """An outlier a hundred times the spread away, among nine others."""
    rows = generator(_SKEWED).normal(0.0, study.MODE_SD, (2_000, 10))
    rows[:, 0] += 0.5
    assert sum(stats.is_bimodal(row) for row in rows.tolist()) <= 10
