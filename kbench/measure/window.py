"""Hold every claimed time against the judge's own window, with a trusted worker as the measure of its overhead."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from kbench.model import Sample

TRUSTED_SIDE = "eager"
_SLACK_SHARE = 0.25
_SLACK_NS = 1_500_000.0
"""What one sample's window may exceed its claim by, beyond the overhead: a quarter, and a slice of a busy scheduler."""
_MEDIAN_SLACK_SHARE = 0.03
_MEDIAN_SLACK_NS = 200_000.0
"""The same for the median over a side's samples, which no interrupt moves: honest sides of the committed runs stayed
within 100 us of the trusted one."""
_MISMATCHED_SHARE = 0.2


def bound_by_window(samples: Sequence[Sample]) -> list[Sample]:
    """Where the window leaves much more time than was claimed, the window's figure counts, and a flag says so.

    The overhead (messages, wake-ups) is the median of window - claim over the trusted side's samples of the same
    replicate. A side whose own median lies above that by more than the slack is held to the window as a whole, any
    other only where a single sample is far off.
    """
    replicates = {sample.replicate for sample in samples}
    overhead_ns = {p: _median_excess_ns(samples, p, TRUSTED_SIDE) for p in replicates}
    held = {
        (p, side)
        for p in replicates
        for side in {sample.side for sample in samples if sample.replicate == p}
        if _is_short(samples, p, side, overhead_ns[p])
    }
    return [
        _bounded(sample, overhead_ns[sample.replicate], whole_side=(sample.replicate, sample.side) in held)
        for sample in samples
    ]


def _median_excess_ns(samples: Sequence[Sample], replicate: int, side: str) -> float:
    own = [(s.window_ns - s.claimed_ns) * s.calls for s in samples if s.replicate == replicate and s.side == side]
    return statistics.median(own) if own else 0.0


def _is_short(samples: Sequence[Sample], replicate: int, side: str, overhead_ns: float) -> bool:
    """Whether a side's claims as a whole are shorter than its windows allow."""
    claims = [s.claimed_ns * s.calls for s in samples if s.replicate == replicate and s.side == side]
    slack_ns = _MEDIAN_SLACK_SHARE * statistics.median(claims) + _MEDIAN_SLACK_NS
    return _median_excess_ns(samples, replicate, side) - overhead_ns > slack_ns


def _bounded(sample: Sample, overhead_ns: float, *, whole_side: bool) -> Sample:
    believed_ns = sample.window_ns - overhead_ns / sample.calls
    slack_ns = _SLACK_SHARE * sample.claimed_ns + (_SLACK_NS + 0.5 * abs(overhead_ns)) / sample.calls
    if sample.side == TRUSTED_SIDE or not (whole_side or believed_ns > sample.claimed_ns + slack_ns):
        return sample
    time_ns = max(believed_ns, sample.claimed_ns)
    return dataclasses.replace(sample, time_ns=time_ns, flags=(*sample.flags, "clock_mismatch"))


def flags_of(samples: Sequence[Sample], side: str) -> tuple[str, ...]:
    """The flags that a good part of one side's samples carry."""
    own = [sample for sample in samples if sample.side == side]
    names = dict.fromkeys(flag for sample in own for flag in sample.flags)
    return tuple(n for n in names if sum(n in s.flags for s in own) > _MISMATCHED_SHARE * len(own))
