"""What a profile says, as values. All text in it may be a candidate's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from kbench.build.kernels import Resources
from kbench.model import SCHEMA_VERSION, Verdict

OWN, LIBRARY = "own", "library"
SOLUTION, REFERENCE = "solution", "reference"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that the profiler saw in the watched process. Times in µs."""

    kind: str
    """`kernel`, `memcpy`, `memset`, or `operator`: all calls of one operator."""
    name: str
    start_us: float
    time_us: float
    calls: int = 1
    registers: int | None = None
    shared_bytes: int | None = None
    """Static and dynamic, per block."""
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Equal events of one side: one row of its table."""

    kind: str
    name: str
    origin: str
    """`own` or `library`."""
    calls: float
    """Per forward."""
    mean_us: float
    share: float
    """Of the time of all activities."""
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    registers: int | None = None
    launch_shared_bytes: int | None = None
    resources: Resources | None = None


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one forward of the solution, or of the reference, consists of."""

    name: str
    """`solution` or `reference`."""
    time_us: float
    """Per forward. On CUDA the time in which the device did anything; on the CPU the operators' self times."""
    own_share: float
    activities: tuple[Activity, ...]


@dataclass(frozen=True, kw_only=True)
class Work:
    """The least work of a forward, and what the device can do, measured just before."""

    least_bytes: float
    least_flops: float
    bytes_per_s: float
    flops_per_s: float

    def bandwidth(self, time_us: float) -> float:
        """Bytes per second that a forward of this time reaches with the least bytes."""
        return self.least_bytes / time_us * 1e6

    def rate(self, time_us: float) -> float:
        """Operations per second, likewise."""
        return self.least_flops / time_us * 1e6


@dataclass(frozen=True, kw_only=True)
class Section:
    """What ncu measured of one launch of an own kernel. None: not said."""

    name: str
    time_us: float | None
    sm_percent: float | None
    memory_percent: float | None
    """The busiest part of the memory system, of its peak."""
    occupancy_percent: float | None
    """Warps that were there, of those that a multiprocessor holds."""
    dram_bytes: float | None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything about one pair. `verdict` says why there is nothing more, where the solution does not run."""

    problem: str
    solution: str
    device: str
    size: str
    verdict: Verdict | None = None
    resources: tuple[Resources, ...] = ()
    sides: tuple[Side, ...] = ()
    work: Work | None = None
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, ready for `json.dumps`."""
        plain = dataclasses.asdict(self)
        if self.verdict is not None:
            plain["verdict"]["evidence"] = {}
        for side, own in zip(plain["sides"], self.sides, strict=True):
            side["bandwidth_share"] = side["flops_share"] = None
            if self.work is not None and own.time_us > 0:
                side["bandwidth_share"] = self.work.bandwidth(own.time_us) / self.work.bytes_per_s
                side["flops_share"] = self.work.rate(own.time_us) / self.work.flops_per_s
        return {"schema_version": SCHEMA_VERSION, **plain}
