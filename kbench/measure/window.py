"""Hold every claimed time against the judge's own window, with a trusted worker as the measure of its overhead."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kbench.model import Sample

TRUSTED_SIDE = "eager"
SOLUTION = "solution"
"""The names of the trusted and of the judged side in every sample."""
_REPLICATES = 5
"""The number that a slack is meant for; fewer replicates are less sure by the square root."""
_REPLICATE_FACTOR, _BLOCK_FACTOR = 3.0, 5.0
"""One replicate's median, and one block's, may stray further than the mean of all replicates'."""
_SURE = 3.0
"""Standard errors of the trusted side's own excess that a window may be beyond its slack."""
_MISMATCHED_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Slack:
    """What a window may exceed its claims by, beyond the trusted side's excess: the judge's doubt, and so the most
    that a lie about the time can gain."""

    share: float
    """Of the claimed time of a sample, for the mean over replicates of a side's median."""
    fixed_ns: float
    """Per sample, however many calls it holds."""
    single_share: float
    """The same for one sample alone, which an interrupt may have lengthened."""
    single_ns: float


CUDA_SLACK = Slack(share=0.005, fixed_ns=1e4, single_share=0.05, single_ns=1e5)
CPU_SLACK = Slack(share=0.02, fixed_ns=1e5, single_share=0.25, single_ns=5e6)


def bound_by_window(samples: Sequence[Sample], slack: Slack) -> list[Sample]:
    """Where the window leaves much more time than the solution claimed, the window's figure counts, and a flag says so.

    The overhead (delivering the outputs, reading them, wake-ups) is the median of window - claim over the trusted
    side's samples of the same replicate. A solution whose own medians lie above that by more than the slack is held
    to the window as a whole; a replicate or a block whose median does, by itself; any other sample only where it is
    far off alone.
    """
    replicates = sorted({sample.replicate for sample in samples})
    overhead_ns = {p: _median_excess_ns(_of(samples, p, TRUSTED_SIDE)) for p in replicates}
    own = {p: _of(samples, p, SOLUTION) for p in replicates}
    unsure = {p: _unsure_ns(_of(samples, p, TRUSTED_SIDE)) for p in replicates}
    held = _held_blocks(own, overhead_ns, unsure, slack)
    return [
        _bounded(sample, overhead_ns[sample.replicate], slack, held=(sample.replicate, sample.block) in held)
        if sample.side == SOLUTION
        else sample
        for sample in samples
    ]


def _held_blocks(
    own: Mapping[int, Sequence[Sample]], overhead_ns: Mapping[int, float], unsure: Mapping[int, float], slack: Slack
) -> set[tuple[int, int]]:
    """The blocks (replicate, block) whose claims together are shorter than their windows allow."""
    everything = {(p, sample.block) for p in own for sample in own[p]}
    judged = [p for p in own if own[p]]
    if not judged:
        return set()
    doubt = max(1.0, math.sqrt(_REPLICATES / max(len(judged), 1)))
    allowed_ns = doubt * _allowed_ns([s for p in judged for s in own[p]], slack)
    unsure_ns = math.sqrt(sum(unsure[p] ** 2 for p in judged)) / len(judged)
    beyond_ns = statistics.mean(_beyond_ns(own[p], overhead_ns[p]) for p in judged)
    if beyond_ns > allowed_ns + _SURE * unsure_ns:
        return everything
    held = set()
    for p, block in everything:
        few = [sample for sample in own[p] if sample.block == block]
        in_replicate_ns = _REPLICATE_FACTOR * (_allowed_ns(own[p], slack) + unsure[p])
        in_block_ns = _BLOCK_FACTOR * (_allowed_ns(few, slack) + unsure[p])
        if _beyond_ns(own[p], overhead_ns[p]) > in_replicate_ns or _beyond_ns(few, overhead_ns[p]) > in_block_ns:
            held.add((p, block))
    return held


def _unsure_ns(samples: Sequence[Sample]) -> float:
    """The standard error of the trusted side's median excess: on a busy machine windows prove less.

    1.4826 MAD estimates a normal spread, and 1.2533 is what a median's error is larger by than a mean's.
    """
    own = [(s.window_ns - s.claimed_ns) * s.calls for s in samples]
    if len(own) < 2:
        return 0.0
    middle = statistics.median(own)
    return 1.2533 * 1.4826 * statistics.median(abs(x - middle) for x in own) / math.sqrt(len(own))


def _beyond_ns(samples: Sequence[Sample], overhead_ns: float) -> float:
    return _median_excess_ns(samples) - overhead_ns


def _allowed_ns(samples: Sequence[Sample], slack: Slack) -> float:
    return slack.share * statistics.median(s.claimed_ns * s.calls for s in samples) + slack.fixed_ns


def _of(samples: Iterable[Sample], replicate: int, side: str) -> list[Sample]:
    return [s for s in samples if s.replicate == replicate and s.side == side]


def _median_excess_ns(samples: Sequence[Sample]) -> float:
    own = [(s.window_ns - s.claimed_ns) * s.calls for s in samples]
    return statistics.median(own) if own else 0.0


def _bounded(sample: Sample, overhead_ns: float, slack: Slack, *, held: bool) -> Sample:
    believed_ns = sample.window_ns - overhead_ns / sample.calls
    allowed_ns = slack.single_share * sample.claimed_ns + slack.single_ns / sample.calls
    if not (held or believed_ns > sample.claimed_ns + allowed_ns):
        return sample
    time_ns = max(believed_ns, sample.claimed_ns)
    return dataclasses.replace(sample, time_ns=time_ns, flags=(*sample.flags, "clock_mismatch"))


def flags_of(samples: Sequence[Sample], side: str) -> tuple[str, ...]:
    """The flags that a good part of one side's samples carry."""
    own = [sample for sample in samples if sample.side == side]
    names = dict.fromkeys(flag for sample in own for flag in sample.flags)
    return tuple(n for n in names if sum(n in s.flags for s in own) > _MISMATCHED_SHARE * len(own))
