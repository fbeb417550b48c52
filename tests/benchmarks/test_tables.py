"""The arithmetic of the benchmarks' tables, on numbers whose answers are known."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest

from benchmarks import tables


def test_kinds_left_out_are_given_their_kinds_mean() -> None:
    scaled = tables.scaled_by_kind({"slow": [40.0, 50.0], "fast": [3.0]}, {"slow": 10, "fast": 4, "none": 0})
    assert scaled == tables.Scaled(wall_s=10 * 45.0 + 4 * 3.0, measured=3, of=14)


def test_a_kind_with_none_measured_cannot_be_scaled() -> None:
    with pytest.raises(ValueError, match="slow"):
        tables.scaled_by_kind({"fast": [3.0], "slow": []}, {"slow": 10, "fast": 4})


def test_a_sample_takes_the_first_of_every_kind() -> None:
    assert tables.every_nth({"a": ["a1", "a2", "a3", "a4", "a5"], "b": ["b1"]}, 2) == ["a1", "a3", "a5", "b1"]
    with pytest.raises(ValueError, match="every"):
        tables.every_nth({"a": ["a1"]}, 0)


def test_overhead_is_what_neither_builds_nor_timed_calls_took() -> None:
    samples = [{"time_ns": 1e6, "calls": 500}, {"time_ns": 2e6, "calls": 250}]
    records: list[dict[str, Any]] = [
        {"build_s": 7.0, "cached": False}, {"build_s": 30.0, "cached": True}, {"build_s": None, "cached": None},
    ]  # fmt: skip
    assert tables.device_seconds(samples) == pytest.approx(1.0)
    assert tables.build_seconds(records) == 7.0
    assert tables.overhead_s(wall_s=28.0, build_s=7.0, device_s=1.0, count=10) == pytest.approx(2.0)


def test_a_ratio_of_equal_times_is_one_and_its_interval_holds_it() -> None:
    ratio = tables.ratio_of_times([1.0, 1.1, 0.9], [1.0, 0.9, 1.1])
    assert ratio.value == pytest.approx(1.0)
    assert ratio.low < 1.0 < ratio.high
    assert tables.ratio_of_times([2.0, 2.0], [1.0, 1.0]) == tables.Ratio(value=2.0, low=2.0, high=2.0)


def test_one_replicate_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two replicates"):
        tables.ratio_of_times([1.0], [1.0, 1.0])


def test_welchs_interval_covers_as_often_as_it_says() -> None:
    rng = random.Random(7)
    tries, held = 2000, 0
    for _ in range(tries):
        new, old = ([2.718 ** rng.gauss(0.0, sd) for _ in range(5)] for sd in (0.02, 0.01))
        ratio = tables.ratio_of_times(new, old)
        held += ratio.low <= 1.0 <= ratio.high
    assert 0.935 < held / tries < 0.975  # 3 standard errors around 95%, and Welch is a little careful


def test_replicates_are_medians_of_one_side() -> None:
    lines = [
        {"problem": "p", "solution": "s", "side": side, "replicate": replicate, "time_ns": time_ns}
        for replicate, times in ((1, (5.0, 7.0, 90.0)), (0, (1.0, 2.0, 3.0)))
        for side in ("solution", "eager")
        for time_ns in times
    ]
    found = tables.replicate_times(lines, "solution")
    assert found == {"p/s": [statistics.median((1.0, 2.0, 3.0)), 7.0]}


def test_spans_meet_where_they_share_some_time() -> None:
    assert tables.meeting((1.0, 2.0), [(0.0, 1.0), (0.0, 1.5), (1.2, 1.3), (1.9, 5.0), (2.0, 3.0)]) == 3


def row(name: str, speedup: float, *, half: float | None = 0.01) -> dict[str, Any]:
    low, high = (None, None) if half is None else (speedup - half, speedup + half)
    return {"problem": "p", "solution": name, "speedup": speedup, "speedup_low": low, "speedup_high": high}


def test_runs_agree_where_intervals_meet() -> None:
    one = [row("same", 1.0), row("moved", 1.0), row("only_here", 1.0), row("without", 1.0, half=None)]
    other = [row("same", 1.015), row("moved", 1.1), row("without", 1.0)]
    found = tables.agreement(one, other)
    assert (found.rows, found.overlapping) == (2, 1)
    assert found.largest == pytest.approx(0.1)
    assert tables.agreement(one, []) == tables.Agreement(rows=0, overlapping=0, largest=0.0)


def test_a_table_is_markdown() -> None:
    assert tables.markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
