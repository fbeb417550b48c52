"""The pages of a batch say what was measured, what was only scaled, and what came out wrong."""

from __future__ import annotations

from typing import Any

from benchmarks import batch

STOCK: dict[str, Any] = {"wall_s": 1280.0, "measured": 8, "count": 32, "seconds": {}, "unexpected": []}
WARM: dict[str, Any] = {"wall_s": 160.0, "count": 32, "build_s": 0.0, "device_s": 32.0, "unexpected": []}


def cells(page: str) -> list[list[str]]:
    """The rows of the tables, heads and rules left out."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    return [row for number, row in enumerate(rows) if "---" not in row and rows[number + 1 : number + 2] != [rule(row)]]


def rule(row: list[str]) -> list[str]:
    return ["---"] * len(row)


def test_each_way_has_its_ratio_to_the_stock_one() -> None:
    stock, warm = cells(batch.report({"stock": STOCK, "warm": WARM}))
    assert stock[1:] == ["32", "1280.0", "1.5", "1.00x", "-", "8 of 8"]
    assert warm[1:] == ["32", "160.0", "12.0", "8.00x", "4.00", "32 of 32"]


def test_what_was_scaled_is_said() -> None:
    assert "8 of 32 candidates were measured" in batch.report({"stock": STOCK})
    assert "were measured" not in batch.report({"stock": {**STOCK, "measured": 32}})


def test_without_the_stock_way_there_is_no_ratio() -> None:
    assert cells(batch.report({"warm": WARM}))[0][4] == "-"


def test_a_status_that_was_not_expected_is_named() -> None:
    page = batch.report({"warm": {**WARM, "unexpected": ["gelu/wrong_000 is correct, not incorrect"]}})
    assert "- warm: gelu/wrong_000 is correct, not incorrect" in page
    assert "31 of 32" in page


def test_gpus_are_compared_with_the_fewest() -> None:
    def gpus(number: int, wall_s: float) -> dict[str, Any]:
        agreement = {"rows": 40, "overlapping": 39, "largest": 0.0123}
        return {**WARM, "count": 64, "wall_s": wall_s, "gpus": number, "agreement": agreement}

    one, two = cells(batch.report({"gpus-2": gpus(2, 100.0), "gpus-1": gpus(1, 190.0)}))
    assert one[:4] == ["1", "190.0", "20.2", "1.00x"]
    assert two == ["2", "100.0", "38.4", "1.90x", "39 of 40", "1.23%", "64 of 64"]
