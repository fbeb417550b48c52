"""Claims held against the judge's own clock."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from kbench.measure.window import bound_by_window, flags_of
from kbench.model import Sample

MS = 1e6
OVERHEAD_NS = 80_000.0


def sample(side: str, *, claimed_ns: float, window_ns: float, calls: int = 1, flags: tuple[str, ...] = ()) -> Sample:
    return Sample(
        replicate=0, block=0, position=0, side=side, calls=calls, claimed_ns=claimed_ns, window_ns=window_ns,
        time_ns=claimed_ns, flags=flags,
    )  # fmt: skip


def side(
    name: str, *, true_ns: float, claimed_ns: float | None = None, calls: int = 1, count: int = 40
) -> list[Sample]:
    """Samples of a side that takes `true_ns` a call, as its window shows, and says it took `claimed_ns`."""
    noise = random.Random(name)
    return [
        sample(
            name,
            claimed_ns=true_ns if claimed_ns is None else claimed_ns,
            window_ns=true_ns + (OVERHEAD_NS + noise.uniform(-20_000, 40_000)) / calls,
            calls=calls,
        )
        for _ in range(count)
    ]


def bounded(*sides: list[Sample]) -> list[Sample]:
    return [s for s in bound_by_window([s for part in sides for s in part]) if s.side == "solution"]


@pytest.mark.parametrize("true_ns", [10_000.0, 1 * MS, 50 * MS])
@pytest.mark.parametrize("calls", [1, 100])
def test_an_honest_side_keeps_its_own_figures(true_ns: float, calls: int) -> None:
    samples = bounded(side("eager", true_ns=2 * MS), side("solution", true_ns=true_ns, calls=calls))
    assert {(s.time_ns, s.flags) for s in samples} == {(true_ns, ())}


@pytest.mark.parametrize("claimed_ns", [0.0, 1.0, 1 * MS, 12 * MS])
def test_a_side_that_hides_most_of_its_time_is_held_to_the_window(claimed_ns: float) -> None:
    samples = bounded(side("eager", true_ns=20 * MS), side("solution", true_ns=20 * MS, claimed_ns=claimed_ns))
    assert all(s.flags == ("clock_mismatch",) for s in samples)
    assert all(s.time_ns == pytest.approx(20 * MS, rel=0.01) for s in samples)
    assert flags_of(samples, "solution") == ("clock_mismatch",)


@pytest.mark.parametrize("true_ns", [0.1 * MS, 1 * MS, 3 * MS, 10 * MS, 100 * MS])
@pytest.mark.parametrize("calls", [1, 10])
def test_no_lie_gains_more_than_the_slack(true_ns: float, calls: int) -> None:
    for claimed_ns in (0.0, 0.25 * true_ns, 0.5 * true_ns, 0.75 * true_ns, 0.9 * true_ns):
        samples = bounded(
            side("eager", true_ns=2 * MS), side("solution", true_ns=true_ns, claimed_ns=claimed_ns, calls=calls)
        )
        slack_ns = 0.03 * claimed_ns + (0.25 * MS) / calls
        assert all(s.time_ns >= true_ns - slack_ns for s in samples)


@pytest.mark.parametrize(("true_ns", "claimed_ns"), [(1.0 * MS, 0.14 * MS), (1.9 * MS, 0.4 * MS), (1.5 * MS, 0.0)])
def test_a_short_call_cannot_hide_behind_the_slack_of_one_sample(true_ns: float, claimed_ns: float) -> None:
    samples = bounded(side("eager", true_ns=2 * MS), side("solution", true_ns=true_ns, claimed_ns=claimed_ns))
    assert flags_of(samples, "solution") == ("clock_mismatch",)
    assert all(s.time_ns == pytest.approx(true_ns, abs=0.1 * MS) for s in samples)


def test_replicates_are_held_to_their_own_overhead() -> None:
    slow = [dataclasses.replace(s, replicate=1, window_ns=s.window_ns + 5 * MS) for s in side("eager", true_ns=2 * MS)]
    late = [dataclasses.replace(s, replicate=1, window_ns=s.window_ns + 5 * MS) for s in side("solution", true_ns=MS)]
    judged = bounded(side("eager", true_ns=2 * MS), side("solution", true_ns=MS), slow, late)
    assert all(s.flags == () for s in judged)


def test_a_batch_shares_one_slack_among_its_calls() -> None:
    samples = bounded(
        side("eager", true_ns=2 * MS), side("solution", true_ns=0.1 * MS, claimed_ns=0.02 * MS, calls=100)
    )
    assert all(s.time_ns == pytest.approx(0.1 * MS, rel=0.02) for s in samples)


def test_a_few_interrupted_samples_are_marked_and_the_side_is_not() -> None:
    samples = side("solution", true_ns=2 * MS, count=50)
    samples[3] = sample("solution", claimed_ns=2 * MS, window_ns=14 * MS)
    samples[30] = sample("solution", claimed_ns=2 * MS, window_ns=9 * MS)
    judged = bounded(side("eager", true_ns=2 * MS), samples)
    assert sum(s.flags == ("clock_mismatch",) for s in judged) == 2
    assert flags_of(judged, "solution") == ()


def test_the_trusted_side_is_the_measure_and_never_bounded() -> None:
    judged = bound_by_window(side("eager", true_ns=2 * MS, claimed_ns=0.1 * MS))
    assert all(s.time_ns == 0.1 * MS and s.flags == () for s in judged)


def test_without_a_trusted_side_the_whole_window_counts() -> None:
    judged = bounded(side("solution", true_ns=20 * MS, claimed_ns=1.0))
    assert all(s.time_ns == s.window_ns for s in judged)


def test_order_and_raw_figures_stay() -> None:
    before = [*side("eager", true_ns=2 * MS), *side("solution", true_ns=20 * MS, claimed_ns=1.0)]
    after = bound_by_window(before)
    assert [(s.side, s.claimed_ns, s.window_ns) for s in after] == [(s.side, s.claimed_ns, s.window_ns) for s in before]


def test_other_flags_stay() -> None:
    flagged = sample("solution", claimed_ns=1.0, window_ns=20 * MS, flags=("starved",))
    assert bounded([flagged])[0].flags == ("starved", "clock_mismatch")


@pytest.mark.parametrize(("marked", "named"), [(0, False), (2, False), (3, True), (10, True)])
def test_a_flag_is_the_sides_when_more_than_a_fifth_carry_it(marked: int, named: bool) -> None:
    fields: dict[str, Any] = {"claimed_ns": 1.0, "window_ns": 1.0}
    samples = [sample("solution", **fields, flags=("starved",) if n < marked else ()) for n in range(10)]
    samples += [sample("eager", **fields, flags=("odd",)) for _ in range(10)]
    assert flags_of(samples, "solution") == (("starved",) if named else ())
    assert flags_of([], "solution") == ()
