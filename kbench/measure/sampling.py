"""Take samples of several sides, interleaved. Knows no device and no process: sides and inputs are handed in."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kbench.model import Sample
from kbench.remote.link import Timed

_WARM_UP_CALLS = 40
_WARM_UP_NS = 3e9
_WARM_UP_AGREEMENT = 0.05
_MOST_CALLS = 1000
_MOST_SAMPLES_PER_VISIT = 60
_LEAST_BACKLOG_NS = 40_000
_MOST_BACKLOG_NS = 20_000_000
_BACKLOG_MARGIN = 1.5
_DIGITS = 3
"""Of a nanosecond per call: no clock here has more to say, and the samples' file stays small."""
_LEAST_TIME_NS = 1e-3
"""What a claim of nothing counts as: ratios need a positive time, and the floor rejects it."""


class Side(Protocol):
    """One process to be timed: `solution`, or a baseline."""

    name: str

    def sample(self, *, calls: int, backlog_ns: int) -> Timed:
        """Time `calls` calls together."""
        ...


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much evidence to take."""

    blocks: int
    min_samples: int
    """Per side and block."""
    min_block_ns: float
    """Per side and block."""
    least_sample_ns: float
    """Shorter calls are batched until a sample lasts this long: 200 quanta of the clock."""
    uses_backlog: bool
    """Whether the device works off a queue, so that a start event must wait behind something."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How one side is sampled, from its warm-up."""

    calls: int
    samples_per_visit: int
    backlog_ns: int


def warm_up(side: Side, refresh: Callable[[], None], budget: Budget) -> Pace:
    """Call until two successive windows of three agree, or long enough; then choose calls and samples."""
    seen: list[Timed] = []
    backlog_ns = _MOST_BACKLOG_NS // 10 if budget.uses_backlog else 0
    spent_ns = 0.0
    while len(seen) < _WARM_UP_CALLS and (spent_ns < _WARM_UP_NS or len(seen) < 3) and not _steady(seen):
        refresh()
        timed = side.sample(calls=1, backlog_ns=backlog_ns)
        spent_ns += timed.window_ns
        seen.append(timed)
    per_call_ns = max(statistics.median(t.claimed_ns for t in seen[-3:]), 1.0)
    enqueue_ns = statistics.median(t.enqueue_ns for t in seen[-3:])
    calls = min(_MOST_CALLS, max(1, math.ceil(budget.least_sample_ns / per_call_ns)))
    wanted_ns = budget.min_block_ns / 2
    samples = max(math.ceil(budget.min_samples / 2), math.ceil(wanted_ns / (calls * per_call_ns)))
    return Pace(
        calls=calls,
        samples_per_visit=min(samples, _MOST_SAMPLES_PER_VISIT),
        backlog_ns=_backlog(enqueue_ns * calls) if budget.uses_backlog else 0,
    )


def _steady(seen: Sequence[Timed]) -> bool:
    if len(seen) < 6:
        return False
    older = statistics.median(t.claimed_ns for t in seen[-6:-3])
    newer = statistics.median(t.claimed_ns for t in seen[-3:])
    return abs(newer - older) <= _WARM_UP_AGREEMENT * max(older, newer)


def _backlog(enqueue_ns: float) -> int:
    return int(min(max(enqueue_ns * _BACKLOG_MARGIN, _LEAST_BACKLOG_NS), _MOST_BACKLOG_NS))


def take_replicate(
    replicate: int,
    sides: Sequence[Side],
    *,
    refresh: Callable[[], None],
    budget: Budget,
    after: Callable[[Side, int], None],
) -> list[Sample]:
    """One replicate's samples: every block visits the sides in order and back again (ABBA for two of them).

    `refresh` lays out new inputs before each call; `after(side, block)` follows each sample and may inspect its
    output. Each visit begins with one call that is not recorded: the other side left caches and clocks behind.
    """
    paces = {side.name: warm_up(side, refresh, budget) for side in sides}
    samples: list[Sample] = []
    for block in range(budget.blocks):
        for position, side in enumerate([*sides, *reversed(sides)]):
            pace = paces[side.name]
            refresh()
            side.sample(calls=1, backlog_ns=pace.backlog_ns)
            for _ in range(pace.samples_per_visit):
                refresh()
                timed = side.sample(calls=pace.calls, backlog_ns=pace.backlog_ns)
                samples.append(_as_sample(timed, pace, replicate, block, position, side.name))
                after(side, block)
    return samples


def _as_sample(timed: Timed, pace: Pace, replicate: int, block: int, position: int, side: str) -> Sample:
    starved = pace.backlog_ns > 0 and timed.enqueue_ns > pace.backlog_ns and timed.enqueue_ns > timed.claimed_ns / 2
    claimed_ns = round(timed.claimed_ns / pace.calls, _DIGITS)
    return Sample(
        replicate=replicate,
        block=block,
        position=position,
        side=side,
        calls=pace.calls,
        claimed_ns=claimed_ns,
        window_ns=round((timed.window_ns - pace.backlog_ns) / pace.calls, _DIGITS),
        time_ns=max(claimed_ns, _LEAST_TIME_NS),
        flags=("starved",) if starved else (),
    )
