"""What counts as disturbed by builds, from samples on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import quiet


def runs_of(work: Path, times_ns: dict[str, list[float]]) -> Path:
    """The samples of three runs of one candidate, one of its own for each replicate's time."""
    for name, times in times_ns.items():
        (work / f"run-{name}").mkdir()
        lines = [
            {"problem": "p", "solution": "s", "side": "solution", "replicate": number, "time_ns": time_ns}
            for number, time_ns in enumerate(times)
        ]
        (work / f"run-{name}" / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return work


def test_a_call_that_slowed_by_more_than_the_goal_missed_it(tmp_path: Path) -> None:
    times = {"alone": [2e5, 2e5, 2e5], "busy": [2.1e5, 2.1e5, 2.1e5], "again": [2e5, 2e5, 2e5]}
    (row,) = quiet.compared(runs_of(tmp_path, times), ["p/s"], {"p/s": (10.0, 20.0)}, [(0.0, 11.0), (30.0, 40.0)])
    assert row.missed
    assert row.builds == 1
    assert row.cells() == ("p/s", "200.00", "1.0500 [1.0500, 1.0500]", "1.0000 [1.0000, 1.0000]", "1", "no")


def test_the_goal_is_not_meant_for_short_calls(tmp_path: Path) -> None:
    times = {"alone": [2e4, 2e4], "busy": [3e4, 3e4], "again": [2e4, 2e4]}
    (row,) = quiet.compared(runs_of(tmp_path, times), ["p/s"], {}, [])
    assert not row.missed
    assert row.cells()[-2:] == ("0", "too short")


@pytest.mark.parametrize("count", [1, 6, 7, 40])
def test_there_are_as_many_candidates_of_a_kind_as_were_asked_for(count: int) -> None:
    for kind in ("correct", "wrong"):
        found = quiet._extensions(kind, count, name="some", device="cuda", seed=3)
        assert len({each.id for each in found}) == len({each.text for each in found}) == count
        assert all(each.kind == kind and each.solution.startswith("some_") for each in found)


def test_the_page_says_whether_anything_overlapped(tmp_path: Path) -> None:
    times = {"alone": [2e5, 2e5], "busy": [2e5, 2e5], "again": [2e5, 2e5]}
    rows = quiet.compared(runs_of(tmp_path, times), ["p/s"], {"p/s": (10.0, 20.0)}, [])
    page = quiet.report(rows, ["busy: p/t is crash"], builds=3)
    assert "3 builds; 0 of 1 candidates were timed while some of them went on." in page
    assert "- busy: p/t is crash" in page
