"""Hold every claimed time against the judge's own window, with a trusted worker as the measure of its overhead."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from kbench.model import Sample

TRUSTED_SIDE = "eager"
_SLACK_SHARE = 0.25
_SLACK_NS = 1_500_000.0
"""What the window may exceed a claim by, beyond the overhead: a quarter, and one slice of a busy scheduler."""
_MISMATCHED_SHARE = 0.2


def bound_by_window(samples: Sequence[Sample]) -> list[Sample]:
    """Where the window leaves much more time than was claimed, the window's figure counts, and a flag says so.

    The overhead (messages, wake-ups) is the median of window - claim over the trusted side's samples.
    """
    trusted = [(s.window_ns - s.claimed_ns) * s.calls for s in samples if s.side == TRUSTED_SIDE]
    overhead_ns = statistics.median(trusted) if trusted else 0.0
    return [_bounded(sample, overhead_ns) for sample in samples]


def _bounded(sample: Sample, overhead_ns: float) -> Sample:
    believed_ns = sample.window_ns - overhead_ns / sample.calls
    slack_ns = _SLACK_SHARE * sample.claimed_ns + (_SLACK_NS + 0.5 * abs(overhead_ns)) / sample.calls
    if sample.side == TRUSTED_SIDE or believed_ns <= sample.claimed_ns + slack_ns:
        return sample
    return dataclasses.replace(sample, time_ns=believed_ns, flags=(*sample.flags, "clock_mismatch"))


def flags_of(samples: Sequence[Sample], side: str) -> tuple[str, ...]:
    """The flags that a good part of one side's samples carry."""
    own = [sample for sample in samples if sample.side == side]
    names = dict.fromkeys(flag for sample in own for flag in sample.flags)
    return tuple(n for n in names if sum(n in s.flags for s in own) > _MISMATCHED_SHARE * len(own))
