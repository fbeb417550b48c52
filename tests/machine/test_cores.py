"""Sharing out cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbench.machine.cores import by_place, share_out


@pytest.mark.parametrize(
    ("cores", "lanes", "each", "builds", "apart"),
    [
        (16, 1, 4, 12, True),
        (32, 2, 4, 24, True),
        (8, 2, 2, 4, True),
        (5, 1, 2, 3, True),
        (3, 1, 3, 3, False),
        (2, 1, 2, 2, False),
        (6, 2, 3, 6, False),
        (1, 1, 1, 1, False),
    ],
)
def test_lanes_and_builds(cores: int, lanes: int, each: int, builds: int, apart: bool) -> None:
    shares = share_out(range(cores), places=range(lanes), of=lanes)
    assert [len(lane) for lane in shares.lanes] == [each] * lanes
    assert (len(shares.builds), shares.apart) == (builds, apart)
    assert len(frozenset().union(*shares.lanes)) == each * lanes, "no core serves two lanes"
    assert shares.builds.isdisjoint(frozenset().union(*shares.lanes)) == apart


def test_more_lanes_than_cores_share_what_there_is() -> None:
    shares = share_out([4, 5], places=[0, 1, 2], of=3)
    assert shares.lanes == (frozenset({4}), frozenset({5}), frozenset({4, 5}))


def test_runs_side_by_side_meet_on_no_core_that_either_times_on() -> None:
    first, second = (share_out(range(32), places=[place], of=2) for place in (0, 1))
    assert (first.lanes, second.lanes) == ((frozenset(range(4)),), (frozenset(range(4, 8)),))
    assert first.builds == second.builds == frozenset(range(8, 32))


@pytest.mark.parametrize(
    ("places", "of"), [([1], 8), ([7], 4), ([0, 0], 2)], ids=["far too few", "too few for all", "slices of one"]
)
def test_otherwise_only_those_of_the_run_get_some(places: list[int], of: int) -> None:
    shares = share_out(range(31), places=places, of=of)
    assert shares == share_out(range(31), places=range(len(places)), of=len(places))
    assert shares.apart
    assert {len(lane) for lane in shares.lanes} == {4}


def test_threads_of_one_core_stand_together(tmp_path: Path) -> None:
    for cpu, (package, core) in enumerate([(1, 0), (0, 1), (0, 0), (1, 0), (0, 1), (0, 0)]):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "core_id").write_text(f"{core}\n")
    assert by_place(range(6), tmp_path) == [2, 5, 1, 4, 0, 3]


def test_a_machine_that_does_not_say_keeps_its_order(tmp_path: Path) -> None:
    assert by_place([3, 1, 2], tmp_path) == [1, 2, 3]
