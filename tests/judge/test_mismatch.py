"""What is said of errors: where they lie."""

from __future__ import annotations

import pytest
import torch

from kbench.judge.mismatch import pattern


def marked(shape: tuple[int, ...], *places: tuple[int | slice, ...]) -> torch.Tensor:
    over = torch.zeros(shape, dtype=torch.bool)
    for place in places:
        over[place] = True
    return over


ALL = slice(None)


@pytest.mark.parametrize(
    ("over", "says"),
    [
        (marked((8, 32), (ALL, slice(0, 32, 4))), "dimension 1: every 4th from 0 of 32"),
        (marked((8, 32), (ALL, slice(3, 32, 4))), "dimension 1: every 4th from 3 of 32"),
        (marked((8, 32), (ALL, slice(1, 32, 2))), "dimension 1: every 2nd from 1 of 32"),
        (marked((8, 66), (ALL, slice(0, 66, 33)), (ALL, 65)), "dimension 1: 3 within 0..65 of 66"),
        (marked((8, 100), (ALL, slice(10, 51, 20))), "dimension 1: every 20th from 10 to 50 of 100"),
        (marked((8, 32), (ALL, slice(16, 24))), "dimension 1: all of 16..23 of 32"),
        (marked((8, 32), (ALL, slice(24, 32))), "dimension 1: the tail 24..31 of 32"),
        (marked((8, 32), (5, ALL)), "dimension 0: only 5 of 8"),
        (marked((8, 32), (slice(6, 8), ALL)), "dimension 0: the tail 6..7 of 8; the last 64 in memory order"),
        (
            marked((8, 32), (7, slice(22, 32))),
            "dimension 0: only 7 of 8; dimension 1: the tail 22..31 of 32; the last 10 in memory order",
        ),
        (marked((4, 8, 6), (ALL, slice(0, 2), ALL)), "dimension 1: all of 0..1 of 8"),
        (marked((9,), (slice(5, 9),)), "dimension 0: the tail 5..8 of 9"),
        (marked((9, 9), (ALL, ALL)), ""),
        (marked((4, 111), (ALL, slice(0, 111, 11))), "dimension 1: every 11th from 0 of 111"),
    ],
)
def test_a_pattern_is_named(over: torch.Tensor, says: str) -> None:
    assert pattern(over) == says
