"""The gate is silent where nothing changed, and finds what did."""

from __future__ import annotations

import dataclasses

import pytest

from kbench.compare.gate import Outcome
from kbench.stats import speedup_estimate
from simulation import study
from simulation.fast import generator
from simulation.gates import World, answers, run_of

_SMALL, _RUN, _LOUD = 30, 31, 32


def figures(name: str) -> study.GateFigures:
    return study.gate_figures(name, draws=study.FULL)


def test_unchanged_solutions_pass() -> None:
    found = figures("100 rows, unchanged")
    assert found.pairs >= 1_000
    assert found.not_passed <= 0.02


def test_a_kernel_slower_by_eight_percent_among_a_hundred_is_found() -> None:
    found = figures("100 rows, one slower by 8%")
    assert found.pairs >= 500
    assert found.found >= 0.9
    assert found.not_passed >= found.found
    assert found.false <= 0.02


@pytest.mark.parametrize("rows", [3, 10, 30])
def test_few_rows_are_as_quiet_and_as_keen(rows: int) -> None:
    small = dataclasses.replace(study.FULL, false_alarms=200, power=100)
    assert study.gate_figures(f"{rows} rows, unchanged", draws=small).not_passed <= 0.02
    assert study.gate_figures(f"{rows} rows, one slower by 8%", draws=small).found >= 0.9


def test_in_loud_noise_it_is_holm_that_keeps_the_gate_quiet() -> None:
    """At 0.5% and 1% the threshold alone would do. At 2% and 2% a row in a hundred falls by 5% by chance."""
    loud = dataclasses.replace(study.FULL, false_alarms=200)
    assert study.gate_figures("100 rows, unchanged, noise 2% and 2%", draws=loud).not_passed <= 0.05
    world = study.WORLDS["100 rows, unchanged, noise 2% and 2%"]
    told = list(answers(world, generator(_LOUD), pairs=40))
    assert sum(bool(answer.regressed) for answer in told) <= 4 < 20 < sum(answer.fell > 0 for answer in told)


def test_rows_that_moved_do_not_hide_one_another_nor_blame_others() -> None:
    small = dataclasses.replace(study.FULL, power=200)
    found = study.gate_figures("10 rows, two slower by 20%", draws=small)
    assert found.found >= 0.95
    assert found.false <= 0.02


def test_the_answers_are_those_to_runs_with_that_change() -> None:
    calm = World(rows=6, slower_by=(0.2, 0.01), replicate_sd=1e-4, run_sd=1e-4)
    (answer,) = answers(calm, generator(_SMALL), pairs=1)
    assert (answer.outcome, answer.regressed) == (Outcome.REGRESSION, frozenset({0}))


def test_a_run_holds_what_its_replicates_say() -> None:
    d = generator(_RUN).normal(0.4, 0.01, (3, 5))
    for row, record in zip(d.tolist(), run_of(d, "run").records.values(), strict=True):
        expected = speedup_estimate(row)
        assert record.speedup == pytest.approx(expected.value)
        assert (record.speedup_low, record.speedup_high) == pytest.approx((expected.low, expected.high))
        assert list(record.replicate_log_ratios) == row
