"""Sampling with sides whose clocks are written down beforehand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from kbench.measure.sampling import Budget, Pace, samples_of, take_replicate, warm_up
from kbench.model import Sample, Timed


def budget(**changes: Any) -> Budget:
    basis: dict[str, Any] = {
        "blocks": 2, "min_samples": 4, "min_block_ns": 0.0, "least_sample_ns": 1.0, "most_calls": 1000,
    }  # fmt: skip
    return Budget(**(basis | changes))


@dataclass
class FakeSide:
    """Takes `per_call_ns` a call, the n-th time by the n-th value; claims `claimed_share` of it."""

    name: str
    per_call_ns: Iterable[float] = (1000.0,)
    claimed_share: float = 1.0
    overhead_ns: float = 50.0
    queued: bool = True
    asked: list[int] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    by_the_wall: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        times = list(self.per_call_ns)
        self._times: Iterator[float] = itertools.chain(times, itertools.repeat(times[-1]))

    def sample(self, *, calls: int, wall: bool = False) -> Timed:
        self.asked.append(calls)
        self.by_the_wall.append(wall)
        self.journal.append(self.name)
        took_ns = next(self._times) * calls
        window_ns = took_ns + self.overhead_ns
        claimed_ns = took_ns * self.claimed_share
        return Timed(claimed_ns=claimed_ns, enqueue_ns=1.0, window_ns=window_ns, idle_ns=0.0, queued=self.queued)

    def rest(self) -> None:
        self.journal.append(f"{self.name} rests")


def replicate(
    sides: list[FakeSide],
    which: Budget,
    after: Callable[[FakeSide, int], None] = lambda *_: None,
    visited: Callable[[FakeSide, int, int], None] = lambda *_: None,
) -> list[Sample]:
    paces = {side.name: warm_up(side, which, trusted=False) for side in sides}
    found = take_replicate(7, sides, paces=paces, budget=which, after=after, visited=visited)
    return list(found.samples)


def test_two_sides_are_visited_abba_in_every_block() -> None:
    a, b = FakeSide("eager"), FakeSide("solution")
    samples = replicate([a, b], budget(blocks=3, min_samples=2))
    visits = [(s.block, s.position, s.side) for s in samples]
    order = ["eager", "solution", "solution", "eager"]
    assert visits == [(block, position, side) for block in range(3) for position, side in enumerate(order)]
    assert {s.replicate for s in samples} == {7}


def test_three_sides_go_there_and_back() -> None:
    sides = [FakeSide(name) for name in "abc"]
    samples = replicate(sides, budget(blocks=1, min_samples=2))
    assert [s.side for s in samples] == list("abccba")


@pytest.mark.parametrize("min_samples", [1, 2, 5, 6])
def test_each_block_has_at_least_the_samples_asked_for(min_samples: int) -> None:
    samples = replicate([FakeSide("a"), FakeSide("b")], budget(min_samples=min_samples))
    for block, side in itertools.product(range(2), "ab"):
        assert sum((s.block, s.side) == (block, side) for s in samples) >= min_samples


def test_each_block_lasts_as_long_as_asked_for() -> None:
    samples = replicate([FakeSide("a"), FakeSide("b")], budget(min_block_ns=24_500.0))
    for block, side in itertools.product(range(2), "ab"):
        assert sum(s.claimed_ns * s.calls for s in samples if (s.block, s.side) == (block, side)) >= 24_500.0


def test_a_side_rests_while_another_is_timed() -> None:
    journal: list[str] = []
    sides = [FakeSide("a", journal=journal), FakeSide("b", journal=journal)]
    replicate(sides, budget())
    awake: set[str] = set()
    for entry in journal:
        if entry.endswith(" rests"):
            awake.discard(entry.removesuffix(" rests"))
        else:
            awake.add(entry)
        assert len(awake) <= 1
    assert not awake


def test_the_look_at_an_output_follows_its_own_sample_and_numbers_it() -> None:
    side, other = FakeSide("a"), FakeSide("b")
    looked: list[tuple[str, int, int]] = []

    def after(looked_at: FakeSide, number: int) -> None:
        looked.append((looked_at.name, number, len(looked_at.asked)))

    samples = replicate([side, other], budget(min_samples=2), after)
    assert [name for name, *_ in looked] == [s.side for s in samples]
    for name in "ab":
        own = [(number, calls) for looked_at, number, calls in looked if looked_at == name]
        assert [number for number, _ in own] == list(range(len(own)))
        assert len({calls for _, calls in own}) == len(own)


def _visits(samples: Sequence[Sample]) -> list[tuple[str, int, int]]:
    return list(dict.fromkeys((s.side, s.block, s.position) for s in samples))


def test_one_visit_of_a_block_is_told_of_after_its_last_sample_and_before_the_side_rests() -> None:
    journal: list[str] = []
    sides = [FakeSide(name, journal=journal) for name in "ab"]

    def visited(side: FakeSide, block: int, position: int) -> None:
        journal.append(f"{side.name} visited {block}.{position}")

    samples = replicate(sides, budget(min_samples=4), visited=visited)
    visits = [visit for visit in _visits(samples) if visit[2] == visit[1] % 2]
    assert [entry for entry in journal if "visited" in entry] == [f"{a} visited {b}.{c}" for a, b, c in visits]
    for number, entry in enumerate(journal):
        if "visited" in entry:
            assert journal[number - 3 : number] == [entry[0]] * 3
            assert journal[number + 1] == f"{entry[0]} rests"


def test_the_number_of_samples_is_known_beforehand() -> None:
    which = budget(blocks=3, min_samples=5)
    side = FakeSide("a")
    assert len(replicate([side], which)) == samples_of(warm_up(FakeSide("a"), which, trusted=False), which)


def test_the_first_call_of_a_visit_is_not_recorded() -> None:
    side = FakeSide("a")
    samples = replicate([side], budget(blocks=1, min_samples=2))
    warm = 6  # two windows of three agree at once
    assert len(side.asked) == warm + 2 * (1 + 1)
    assert len(samples) == 2


def test_the_first_block_begins_with_a_sample_by_the_wall() -> None:
    a, b = FakeSide("a", per_call_ns=(2000.0,)), FakeSide("b", per_call_ns=(3000.0,))
    paces = {"a": Pace(calls=4, samples_per_visit=2), "b": Pace(calls=4, samples_per_visit=1)}
    found = take_replicate(7, [a, b], paces=paces, budget=budget(blocks=2), after=lambda *_: None)
    assert found.wall_ns == {"a": [2000.0, 2000.0], "b": [3000.0, 3000.0]}
    first, later = [True, False, False] * 2, [False] * 6
    assert a.by_the_wall == first + later
    assert a.asked == [4, 4, 4] * 2 + [1, 4, 4] * 2
    assert len(found.samples) == 2 * (2 * 2 + 2 * 1)
    assert {sample.enqueue_ns for sample in found.samples} == {0.25}


def test_short_calls_are_batched_until_a_sample_is_long_enough() -> None:
    side = FakeSide("a", per_call_ns=(3000.0,))
    samples = replicate([side], budget(least_sample_ns=1e5))
    assert {s.calls for s in samples} == {34}
    assert {s.claimed_ns for s in samples} == {3000.0}
    assert all(math.isclose(s.window_ns, 3000.0 + 50.0 / 34, abs_tol=1e-3) for s in samples)


def test_a_claim_of_nothing_buys_no_more_samples_than_a_call_of_a_microsecond() -> None:
    which = budget(min_samples=2, min_block_ns=1e4, most_calls=64)
    paces = [warm_up(FakeSide("a", per_call_ns=(ns,)), which, trusted=False) for ns in (0.0, 1000.0)]
    assert paces[0] == paces[1]
    assert paces[0].samples_per_visit == 5


def test_no_sample_has_more_calls_than_there_are_sets() -> None:
    samples = replicate([FakeSide("a", per_call_ns=(30.0,))], budget(least_sample_ns=1e6, most_calls=16))
    assert {s.calls for s in samples} == {16}


@pytest.mark.parametrize("share", [0.0, 1e-300])
def test_a_side_that_claims_no_time_is_sampled_finitely_and_stays_a_positive_time(share: float) -> None:
    side = FakeSide("solution", claimed_share=share)
    samples = replicate([side], budget(blocks=1, least_sample_ns=1e6, min_block_ns=1e7))
    assert max(side.asked) <= 1000
    assert len(samples) <= 120
    assert all(0 < s.time_ns < 1 for s in samples)


def test_a_long_call_that_claims_no_time_is_not_made_many_times_over() -> None:
    side = FakeSide("solution", per_call_ns=(1e9,), claimed_share=0.0)
    samples = replicate([side], budget(blocks=1, least_sample_ns=1e6, min_block_ns=1e7, min_samples=2))
    assert (max(side.asked), len(samples)) == (1, 2)


@pytest.mark.parametrize("claim", [1e300, 1.7e308])
def test_a_side_that_claims_forever_is_sampled_all_the_same(claim: float) -> None:
    side = FakeSide("solution", per_call_ns=(claim,), overhead_ns=0.0)
    samples = replicate([side], budget(blocks=1, min_block_ns=1e7))
    assert {s.calls for s in samples} == {1}


@pytest.mark.parametrize("queued", [True, False])
def test_a_forward_that_waits_for_the_device_is_flagged(queued: bool) -> None:
    samples = replicate([FakeSide("a", queued=queued)], budget(blocks=1))
    assert {s.flags for s in samples} == {() if queued else ("waits_for_device",)}


# --- warm-up ---


def test_warming_up_ends_when_two_windows_of_three_agree() -> None:
    side = FakeSide("a", per_call_ns=(9000.0, 5000.0, 3000.0, 2000.0, 1500.0, 1200.0, 1010.0, 1000.0, 990.0, 1000.0))
    warm_up(side, budget(), trusted=False)
    assert len(side.asked) == 11  # after ten the medians are 1200 and 1000, then 1010 and 1000


def test_warming_up_ends_at_last_where_nothing_agrees() -> None:
    side = FakeSide("a", per_call_ns=itertools.islice(itertools.cycle([1.0, 1.0, 1.0, 1e3, 1e3, 1e3]), 60))
    warm_up(side, budget(), trusted=False)
    assert len(side.asked) <= 40


def test_warming_up_a_slow_side_takes_three_calls() -> None:
    side = FakeSide("a", per_call_ns=(4e9,))
    pace = warm_up(side, budget(min_samples=6), trusted=False)
    assert (len(side.asked), pace.calls, pace.samples_per_visit) == (3, 1, 3)


def test_a_busy_machine_makes_no_short_samples_of_a_trusted_sides_calls() -> None:
    pace = {
        trusted: warm_up(FakeSide("a", overhead_ns=9e6), budget(least_sample_ns=1e5), trusted=trusted).calls
        for trusted in (True, False)
    }
    assert pace == {True: 100, False: 1}


def test_the_pace_follows_the_end_of_the_warm_up() -> None:
    side = FakeSide("a", per_call_ns=(1e6, 1e6, 1e6, 1e6, 10_000.0))
    assert warm_up(side, budget(least_sample_ns=100_000.0), trusted=False).calls == 10
