from __future__ import annotations

import math

import pytest

from kbench.report.strip import strip


@pytest.mark.parametrize(
    ("old", "new", "drawn"),
    [
        ([0.0, 0.0, 0.08], [0.01, 0.04, 0.04], "On··N···o 8.3%"),
        ([0.0, 0.08], [0.08], "o·······* 8.3%"),
        ([0.0], [0.001], "o·······n 0.10%"),
        ([0.5, 0.5], [], "····O···· 0%"),
        ([], [0.5, 0.7], "n·······n 22%"),
        ([0.0], [math.log(20)], "o·······n >10x"),
        ([-300.0], [700.0], "o·······n >10x"),
        ([], [], "–"),
    ],
)
def test_strip(old: list[float], new: list[float], drawn: str) -> None:
    assert strip(old, new) == drawn


def test_an_outlier_stands_alone() -> None:
    assert strip([0.5, 0.501, 0.502, 0.3], [0.5, 0.501, 0.502, 0.5]).startswith("o·······*")
