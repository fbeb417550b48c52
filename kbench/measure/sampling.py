"""Take samples of several sides, interleaved. Knows no device and no process: sides are handed in."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kbench.measure.backend import AnySide, Side
from kbench.model import Sample, Timed

_WARM_UP_CALLS = 40
_WARM_UP_NS = 3e9
_WARM_UP_AGREEMENT = 0.05
_MOST_SAMPLES_PER_VISIT = 60
_MOST_FULL_SAMPLES_PER_VISIT = 6
"""What differs from process to process is not found out by more: of calls too short to fill a sample (256 of 3 us) so
many are enough, and drawing their inputs takes many times as long as they do."""
_LEAST_BELIEVED_SHARE = 0.5
_OVERHEAD_NS = 2e6
"""More than a window exceeds an honest claim by. What a claim leaves open beyond it is taken for work, so that a side
that claims next to nothing is not sampled for ever."""
_LEAST_CALL_NS = 1e3
"""No call takes less. A claim of nothing must not buy as many samples as there may be."""
_DIGITS = 3
"""Of a nanosecond per call: no clock here has more to say, and the samples' file stays small."""
_LEAST_TIME_NS = 1e-3
"""What a claim of nothing counts as: ratios need a positive time, and the floor rejects it."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much evidence to take."""

    blocks: int
    min_samples: int
    """Per side and block."""
    min_block_ns: float
    """Per side and block."""
    least_sample_ns: float
    """Shorter calls are made in a row until a sample lasts this long."""
    most_calls: int
    """In one sample: as many as there are sets of inputs."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How one side is sampled, from its warm-up."""

    calls: int
    samples_per_visit: int


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """What one replicate gave."""

    samples: Sequence[Sample]
    wall_ns: Mapping[str, Sequence[float]]
    """Per call, by side: what a caller would wait, launches and all."""


def warm_up(side: Side, budget: Budget, *, trusted: bool) -> Pace:
    """Call until two successive windows of three agree, or long enough; then choose calls and samples.

    What a `trusted` side claims is its time. Of any other the window has a say: on a busy machine that is a long time,
    and so fewer calls make a sample than should.
    """
    seen: list[Timed] = []
    spent_ns = 0.0
    while len(seen) < _WARM_UP_CALLS and (spent_ns < _WARM_UP_NS or len(seen) < 3) and not _steady(seen):
        timed = side.sample(calls=1)
        spent_ns += timed.window_ns
        seen.append(timed)
    side.rest()
    believable = (timed.claimed_ns if trusted else _believable_ns(timed) for timed in seen[-3:])
    per_call_ns = max(statistics.median(believable), _LEAST_CALL_NS)
    calls = min(budget.most_calls, max(1, math.ceil(budget.least_sample_ns / per_call_ns)))
    wanted_ns = budget.min_block_ns / 2
    samples = max(math.ceil(budget.min_samples / 2), math.ceil(wanted_ns / (calls * per_call_ns)))
    most = _MOST_SAMPLES_PER_VISIT if calls < budget.most_calls else _MOST_FULL_SAMPLES_PER_VISIT
    return Pace(calls=calls, samples_per_visit=min(samples, most))


def in_step(paces: Mapping[str, Pace]) -> dict[str, Pace]:
    """The same paces, with as many calls in a row for every side as the side has that makes most.

    Samples of both sides then deliver as much, so that their windows can be compared. And whoever is slow on purpose
    while it warms up is not given samples so short that the window's slack covers any claim.
    """
    calls = max(pace.calls for pace in paces.values())
    return {side: dataclasses.replace(pace, calls=calls) for side, pace in paces.items()}


def _believable_ns(timed: Timed) -> float:
    return max(timed.claimed_ns, _LEAST_BELIEVED_SHARE * (timed.window_ns - _OVERHEAD_NS))


def _steady(seen: Sequence[Timed]) -> bool:
    if len(seen) < 6:
        return False
    older = statistics.median(t.claimed_ns for t in seen[-6:-3])
    newer = statistics.median(t.claimed_ns for t in seen[-3:])
    return abs(newer - older) <= _WARM_UP_AGREEMENT * max(older, newer)


def take_replicate(
    replicate: int,
    sides: Sequence[AnySide],
    *,
    paces: dict[str, Pace],
    budget: Budget,
    after: Callable[[AnySide, int], None],
    visited: Callable[[AnySide, int, int], None] = lambda *_: None,
) -> Replicate:
    """One replicate's samples: every block visits the sides in order and back again (ABBA for two of them).

    `after(side, number)` follows each sample and may inspect its outputs; a side's samples are numbered from 0.
    `visited(side, block, position)` follows the last sample of one visit of every block, to each side in its turn.
    Each visit begins with one call that is not recorded: the other side left caches and clocks behind. In the first
    block as many as a sample has take its place, timed by the wall.
    """
    samples: list[Sample] = []
    wall_ns: dict[str, list[float]] = {side.name: [] for side in sides}
    taken = {side.name: 0 for side in sides}
    for block in range(budget.blocks):
        for position, side in enumerate([*sides, *reversed(sides)]):
            pace = paces[side.name]
            if block == 0:
                wall_ns[side.name].append(side.sample(calls=pace.calls, wall=True).claimed_ns / pace.calls)
            else:
                side.sample(calls=1)
            for _ in range(pace.samples_per_visit):
                timed = side.sample(calls=pace.calls)
                samples.append(_as_sample(timed, pace, replicate, block, position, side.name))
                after(side, taken[side.name])
                taken[side.name] += 1
            if position == block % len(sides):
                visited(side, block, position)
            side.rest()
    return Replicate(samples=samples, wall_ns=wall_ns)


def samples_of(pace: Pace, budget: Budget) -> int:
    """How many samples of a side with this pace a replicate holds."""
    return 2 * budget.blocks * pace.samples_per_visit


def _as_sample(timed: Timed, pace: Pace, replicate: int, block: int, position: int, side: str) -> Sample:
    claimed_ns = round(timed.claimed_ns / pace.calls, _DIGITS)
    return Sample(
        replicate=replicate,
        block=block,
        position=position,
        side=side,
        calls=pace.calls,
        claimed_ns=claimed_ns,
        enqueue_ns=None if timed.enqueue_ns is None else round(timed.enqueue_ns / pace.calls, _DIGITS),
        window_ns=round(timed.window_ns / pace.calls, _DIGITS),
        time_ns=max(claimed_ns, _LEAST_TIME_NS),
        flags=() if timed.queued else ("waits_for_device",),
    )
