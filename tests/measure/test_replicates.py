"""A pair's measurement from beginning to end, by a backend that has neither workers nor a clock."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from kbench import stats
from kbench.machine.reading import Reading
from kbench.measure.replicates import Effort, take_samples
from kbench.measure.summary import Taken, log_ratios, summarise
from kbench.measure.window import CUDA_SLACK
from measure.test_sampling import FakeSide, budget

EAGER, SOLUTION = "eager", "solution"


class Refused(Exception):
    """What a follower may raise."""


@dataclass
class FakeFollower:
    """Verifies every third sample of the solution; refuses the one that it was told to."""

    refuse: int | None
    seen: int = 0
    verified: int = 0

    def after(self, side: FakeSide, number: int) -> None:
        if side.name != SOLUTION:
            return
        self.seen += 1
        self.verified += number % 3 == 0
        if number == self.refuse:
            raise Refused


@dataclass
class FakeBackend:
    """Sides that take `per_call_ns(side, replicate)`, written down as they come and go."""

    per_call_ns: Callable[[str, int], float]
    refuse: int | None = None
    journal: list[list[str]] = field(default_factory=list)
    present: int = 0
    announced: list[int] = field(default_factory=list)
    followers: list[FakeFollower] = field(default_factory=list)
    temperature_c: int | None = 40
    """What every reading says; None: nothing can be read."""
    read_while_present: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def staffed(self, names: Sequence[str]) -> Iterator[list[FakeSide]]:
        self.journal.append(list(names))
        self.present += 1
        replicate = len(self.journal) - 1
        try:
            yield [FakeSide(name, per_call_ns=(self.per_call_ns(name, replicate),)) for name in names]
        finally:
            self.present -= 1

    def follow(self, sides: Sequence[FakeSide], *, samples: int, calls: int) -> FakeFollower:
        assert self.present == 1
        self.announced.append(samples)
        self.followers.append(FakeFollower(self.refuse))
        return self.followers[-1]

    def read(self) -> Reading | None:
        self.read_while_present.append(self.present)
        return None if self.temperature_c is None else Reading(temperature_c=self.temperature_c)


def steady(side: str, _: int) -> float:
    return 2e6 if side == EAGER else 1e6


def wobbling(side: str, replicate: int) -> float:
    return 2e6 if side == EAGER else 1e6 * (1.0 + 0.1 * (replicate % 3))


def taken(backend: FakeBackend, *, replicates: int = 5, most: int = 10) -> Taken:
    effort = Effort(replicates=replicates, most_replicates=most)
    return take_samples(
        backend, [SOLUTION, EAGER], effort=effort, budget=budget(), slack=CUDA_SLACK, progress=lambda *_: None
    )


def test_whoever_starts_first_alternates_and_everyone_is_gone_in_the_end() -> None:
    backend = FakeBackend(steady)
    taken(backend)
    assert backend.journal == [[SOLUTION, EAGER], [EAGER, SOLUTION]] * 2 + [[SOLUTION, EAGER]]
    assert backend.present == 0


def test_a_narrow_interval_needs_no_more_and_a_wide_one_does() -> None:
    assert len(log_ratios(taken(FakeBackend(steady)).samples, EAGER)) == 5
    wide = taken(FakeBackend(wobbling))
    measured, logs = summarise(wide, baselines=(EAGER,), floor=None)
    assert (len(logs), measured.deciding_replicates) == (10, 5)
    assert measured.speedup == stats.speedup_estimate(logs, first=5)


@pytest.mark.parametrize(("replicates", "most", "number"), [(3, 3, 3), (1, 1, 1), (10, 10, 10), (4, 2, 4)])
def test_a_number_that_was_given_is_kept(replicates: int, most: int, number: int) -> None:
    result = taken(FakeBackend(wobbling), replicates=replicates, most=most)
    measured, logs = summarise(result, baselines=(EAGER,), floor=None)
    assert (len(logs), measured.deciding_replicates) == (number, None)
    assert measured.speedup == stats.speedup_estimate(logs)


def test_replicates_of_two_modes_are_flagged() -> None:
    def two_modes(side: str, replicate: int) -> float:
        return 2e6 if side == EAGER else 1e6 * (1.0 + 0.1 * (replicate % 2) + 0.0001 * replicate)

    flags = [
        summarise(taken(FakeBackend(clock), replicates=10), baselines=(EAGER,), floor=None)[0].flags
        for clock in (two_modes, steady)
    ]
    assert flags == [("bimodal",), ()]


def test_every_sample_is_followed_and_what_was_verified_is_counted() -> None:
    backend = FakeBackend(steady)
    result = taken(backend)
    own = [sample for sample in result.samples if sample.side == SOLUTION]
    assert [follower.seen for follower in backend.followers] == backend.announced
    assert len(own) == sum(backend.announced)
    assert result.timed_calls == sum(sample.calls for sample in own)
    assert result.verified_calls == sum(follower.verified for follower in backend.followers) > 0


def test_what_a_follower_raises_ends_it_and_leaves_nobody_behind() -> None:
    backend = FakeBackend(steady, refuse=2)
    with pytest.raises(Refused):
        taken(backend)
    assert (len(backend.journal), backend.present) == (1, 0)


def test_progress_is_told_before_each_replicate_and_what_it_is_out_of() -> None:
    said: list[tuple[int, int]] = []
    take_samples(
        FakeBackend(wobbling), [SOLUTION, EAGER], effort=Effort(replicates=2, most_replicates=4), budget=budget(),
        slack=CUDA_SLACK, progress=lambda *told: said.append(told),
    )  # fmt: skip
    assert said == [(0, 2), (1, 2), (2, 4), (3, 4)]


def test_the_figures_are_those_of_the_clocks() -> None:
    measured, logs = summarise(taken(FakeBackend(steady)), baselines=(EAGER,), floor=None)
    assert logs == pytest.approx([math.log(2)] * 5)
    assert (measured.reference_ms, measured.time_ms) == (2.0, 1.0)


def test_the_device_is_read_once_a_block_after_each_side_in_its_turn() -> None:
    backend = FakeBackend(steady)
    result = taken(backend)
    visits = list(dict.fromkeys((s.replicate, s.block, s.position, s.side) for s in result.samples))
    read = [visit for visit in visits if visit[2] == visit[1] % 2]
    assert [(p.replicate, p.block, p.position, p.side) for p in result.readings] == read
    assert {p.side for p in result.readings} == {SOLUTION, EAGER}
    assert {p.reading for p in result.readings} == {Reading(temperature_c=40)}
    assert backend.read_while_present == [1] * len(read)


def test_a_device_of_which_nothing_can_be_read_leaves_no_readings() -> None:
    backend = FakeBackend(steady, temperature_c=None)
    assert taken(backend).readings == ()
    assert backend.read_while_present
