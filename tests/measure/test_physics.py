"""The floor under a time, from ceilings that were measured."""

from __future__ import annotations

import math

import pytest
import torch

from kbench.measure import physics
from kbench.measure.physics import Ceilings, floor_ms, is_impossible, least_work, measure_ceilings

H200 = Ceilings(bytes_per_s=4.3e12, flops_per_s=8e14)


def test_moving_the_bytes_bounds_what_has_few_operations() -> None:
    assert floor_ms(H200, least_bytes=4.3e9, least_flops=1.0) == pytest.approx(1.0)


def test_a_quarter_of_the_operations_bounds_what_has_many() -> None:
    assert floor_ms(H200, least_bytes=1.0, least_flops=3.2e12) == pytest.approx(1.0)


def test_nothing_to_do_has_no_floor() -> None:
    assert floor_ms(H200, least_bytes=0.0, least_flops=0.0) == 0.0


@pytest.mark.parametrize(("time_ms", "impossible"), [(0.0, True), (0.79, True), (0.81, False), (1.0, False)])
def test_a_time_is_impossible_below_the_floor_and_its_own_error(time_ms: float, impossible: bool) -> None:
    assert is_impossible(time_ms, 1.0) is impossible


def test_no_time_is_below_a_floor_of_nothing() -> None:
    assert not is_impossible(0.0, 0.0)


@pytest.mark.parametrize(
    ("declared", "work"),
    [({}, (10.0, 20.0)), ({"bytes": 1}, (1.0, 20.0)), ({"flops": 2, "other": 3}, (10.0, 2.0))],
)
def test_what_the_problem_declares_stands_above_what_was_counted(
    declared: dict[str, float], work: tuple[float, float]
) -> None:
    assert least_work(declared, counted_bytes=10.0, counted_flops=20.0) == work


def test_ceilings_of_this_machine_are_positive_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics, "_CPU_MATMUL", 32)
    measured = measure_ceilings(torch.device("cpu"), typical_bytes=1)
    assert all(0 < rate < math.inf for rate in (measured.bytes_per_s, measured.flops_per_s))
