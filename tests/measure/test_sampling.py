"""Sampling with sides whose clocks are written down beforehand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from kbench.measure.sampling import Budget, Side, take_replicate, warm_up
from kbench.remote.link import Timed


def budget(**changes: Any) -> Budget:
    basis: dict[str, Any] = {
        "blocks": 2, "min_samples": 4, "min_block_ns": 0.0, "least_sample_ns": 1.0, "uses_backlog": False,
    }  # fmt: skip
    return Budget(**(basis | changes))


@dataclass
class FakeSide:
    """Takes `per_call_ns` a call, the n-th time by the n-th value; overhead and enqueue time are constant."""

    name: str
    per_call_ns: Iterable[float] = (1000.0,)
    overhead_ns: float = 50.0
    enqueue_ns: float = 10.0
    asked: list[tuple[int, int]] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        times = list(self.per_call_ns)
        self._times: Iterator[float] = itertools.chain(times, itertools.repeat(times[-1]))

    def sample(self, *, calls: int, backlog_ns: int) -> Timed:
        self.asked.append((calls, backlog_ns))
        self.journal.append(self.name)
        claimed = next(self._times) * calls
        window = claimed + self.overhead_ns + backlog_ns
        return Timed(claimed_ns=claimed, enqueue_ns=self.enqueue_ns * calls, window_ns=window)


def nothing() -> None:
    """Inputs that stay."""


def replicate(sides: list[FakeSide], which: Budget, after: Callable[[Side, int], None] | None = None) -> list[Any]:
    return take_replicate(7, sides, refresh=nothing, budget=which, after=after or (lambda *_: None))


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


def test_inputs_are_new_before_every_single_sample_of_every_side() -> None:
    journal: list[str] = []
    sides = [FakeSide("a", journal=journal), FakeSide("b", journal=journal)]
    take_replicate(0, sides, refresh=lambda: journal.append("new"), budget=budget(), after=lambda *_: None)
    assert journal[0::2] == ["new"] * (len(journal) // 2)
    assert set(journal[1::2]) == {"a", "b"}


def test_the_look_at_an_output_follows_its_own_sample_and_names_its_block() -> None:
    side = FakeSide("a")
    looked: list[tuple[str, int, int]] = []

    def after(looked_at: Side, block: int) -> None:
        looked.append((looked_at.name, block, len(side.asked)))

    samples = replicate([side], budget(min_samples=2), after)
    assert len(looked) == len(samples)
    assert [(name, block) for name, block, _ in looked] == [(s.side, s.block) for s in samples]
    numbers = [number for *_, number in looked]
    assert numbers == sorted(set(numbers))


def test_the_first_call_of_a_visit_is_not_recorded() -> None:
    side = FakeSide("a")
    samples = replicate([side], budget(blocks=1, min_samples=2))
    warm = 6  # two windows of three agree at once
    assert len(side.asked) == warm + 2 * (1 + 1)
    assert len(samples) == 2


def test_short_calls_are_batched_until_a_sample_is_long_enough() -> None:
    side = FakeSide("a", per_call_ns=(30.0,))
    samples = replicate([side], budget(least_sample_ns=1000.0))
    assert {s.calls for s in samples} == {34}
    assert {s.claimed_ns for s in samples} == {30.0}
    assert all(math.isclose(s.window_ns, 30.0 + 50.0 / 34, abs_tol=1e-3) for s in samples)


@pytest.mark.parametrize("claim", [0.0, 1e-300])
def test_a_side_that_claims_no_time_is_sampled_finitely_and_stays_a_positive_time(claim: float) -> None:
    side = FakeSide("solution", per_call_ns=(claim,))
    samples = replicate([side], budget(blocks=1, least_sample_ns=1e6, min_block_ns=1e7))
    assert max(calls for calls, _ in side.asked) <= 1000
    assert len(samples) <= 120
    assert all(0 < s.time_ns < 1 for s in samples)


@pytest.mark.parametrize("claim", [1e300, 1.7e308])
def test_a_side_that_claims_forever_is_sampled_all_the_same(claim: float) -> None:
    side = FakeSide("solution", per_call_ns=(claim,), overhead_ns=0.0, enqueue_ns=1e308)
    samples = replicate([side], budget(blocks=1, uses_backlog=True, min_block_ns=1e7))
    assert {s.calls for s in samples} == {1}


# --- warm-up ---


def test_warming_up_ends_when_two_windows_of_three_agree() -> None:
    side = FakeSide("a", per_call_ns=(9000.0, 5000.0, 3000.0, 2000.0, 1500.0, 1200.0, 1010.0, 1000.0, 990.0, 1000.0))
    warm_up(side, nothing, budget())
    assert len(side.asked) == 11  # after ten the medians are 1200 and 1000, then 1010 and 1000


def test_warming_up_ends_at_last_where_nothing_agrees() -> None:
    side = FakeSide("a", per_call_ns=itertools.islice(itertools.cycle([1.0, 1.0, 1.0, 1e3, 1e3, 1e3]), 60))
    warm_up(side, nothing, budget())
    assert len(side.asked) <= 40


def test_warming_up_a_slow_side_takes_three_calls() -> None:
    side = FakeSide("a", per_call_ns=(4e9,))
    pace = warm_up(side, nothing, budget(min_samples=6))
    assert (len(side.asked), pace.calls, pace.samples_per_visit) == (3, 1, 3)


def test_the_pace_follows_the_end_of_the_warm_up() -> None:
    side = FakeSide("a", per_call_ns=(1e6, 1e6, 1e6, 1e6, 100.0))
    assert warm_up(side, nothing, budget(least_sample_ns=1000.0)).calls == 10


# --- backlog ---


def test_without_a_queue_there_is_no_backlog() -> None:
    side = FakeSide("a")
    samples = replicate([side], budget())
    assert {backlog for _, backlog in side.asked} == {0}
    assert all(s.window_ns == s.claimed_ns + 50.0 / s.calls for s in samples)


@pytest.mark.parametrize(
    ("enqueue_ns", "backlog_ns"), [(10.0, 40_000), (100_000.0, 150_000), (1e9, 20_000_000), (0.0, 40_000)]
)
def test_the_backlog_is_longer_than_enqueueing_takes_within_bounds(enqueue_ns: float, backlog_ns: int) -> None:
    assert warm_up(FakeSide("a", enqueue_ns=enqueue_ns), nothing, budget(uses_backlog=True)).backlog_ns == backlog_ns


def test_the_backlog_is_no_part_of_the_window() -> None:
    samples = replicate([FakeSide("a", per_call_ns=(1e6,))], budget(uses_backlog=True))
    assert {s.window_ns for s in samples} == {1e6 + 50.0}


@pytest.mark.parametrize(
    ("enqueue_ns", "per_call_ns", "starved"),
    [(30e6, 1e6, True), (30e6, 80e6, False), (10.0, 1e6, False)],
)
def test_a_queue_that_ran_empty_is_flagged(enqueue_ns: float, per_call_ns: float, starved: bool) -> None:
    side = FakeSide("a", per_call_ns=(per_call_ns,), enqueue_ns=enqueue_ns)
    samples = replicate([side], budget(blocks=1, uses_backlog=True))
    assert {s.flags for s in samples} == {("starved",) if starved else ()}
