"""The words of kbench as frozen values: problems, solutions, verdicts, measurements, records.

Nothing here imports torch, reads a clock or touches a file, so every command can use it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1


class Status(enum.StrEnum):
    """How a pair ended. Only `correct` carries a speedup."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    BUILD_ERROR = "build_error"
    LOAD_ERROR = "load_error"
    RUNTIME_ERROR = "runtime_error"
    CRASH = "crash"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    PROTOCOL_ERROR = "protocol_error"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    INFRA_ERROR = "infra_error"

    @property
    def is_failure(self) -> bool:
        """The solution was judged and is not usable (neither correct, nor skipped, nor our own fault)."""
        return self not in (Status.CORRECT, Status.SKIPPED, Status.INFRA_ERROR)


class Device(enum.StrEnum):
    """The kind of device a pair runs on."""

    CPU = "cpu"
    CUDA = "cuda"


class Precision(enum.StrEnum):
    """The precision class a problem declares; reference and solution are timed in the same class."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A reference module's file and what its sidecar declares about it."""

    id: str
    path: Path
    sha: str
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Named sizes: for each, overrides of the module's upper-level constants. `full` overrides nothing."""
    precision: Precision = Precision.FP32
    mode: str | None = None
    """`train`, `eval`, or None: as the module was constructed."""
    floor: Mapping[str, float] = field(default_factory=dict)
    """Overrides of the physical floor: `bytes` and `flops`, per size `full` (scaled by nothing)."""
    defect: str | None = None
    """Why this file cannot serve as a problem, where that can be read off its text."""
    sidecar: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Solution:
    """One candidate's file, and what can be read off its text without running it."""

    problem_id: str
    name: str
    path: Path
    sha: str
    devices: frozenset[Device]
    """The devices the text can run on: {cuda} for CUDA sources, {cpu} for C++ extensions, both for plain torch."""
    defect: str | None = None
    """Why this file cannot be judged at all (a raw response without a candidate), if so."""
    line_offset: int = 0
    """Lines before the source in the file the user gave (a raw response): added to every reported line."""
    shown_path: str = ""
    """The path the user knows the source by."""

    @property
    def id(self) -> str:
        return f"{self.problem_id}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One planned pair on one device at one size. Each ends in exactly one record."""

    problem: Problem
    solution: Solution
    device: Device
    size: str
    skip_reason: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.problem.id, self.solution.name)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All pairs of a run, in the order they will be shown."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the judge concluded, with the evidence a person needs to act on it."""

    status: Status
    reason: str = ""
    message: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A speedup with its 95% interval (ratios; above 1 means faster than the baseline)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One sample as both sides saw it, in nanoseconds for all its calls together."""

    claimed_ns: float
    enqueue_ns: float | None
    """Until the host had handed all work over; None where it does the work itself."""
    window_ns: float
    idle_ns: float
    """What it took the judge to get something done on the device before it asked for anything (CPU: 0)."""
    queued: bool
    """Whether all the work was queued before the inputs came."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One timed call (or batch of calls) of one side, as the worker and the judge saw it."""

    replicate: int
    block: int
    position: int
    """Place of the block's visit in its order, e.g. 0..3 of ABBA."""
    side: str
    """`solution`, `eager`, `compile`."""
    claimed_ns: float
    """Per call, by the worker's precise clock (CUDA events; CPU: perf_counter_ns)."""
    enqueue_ns: float | None
    """Per call, until the host had handed all work over; None where it does the work itself."""
    window_ns: float
    """Per call, by the judge's clock from release to answer."""
    calls: int
    """Calls in this sample."""
    time_ns: float
    """Per call, the figure that counts: the claim, or the window's where the claim is not believed."""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The raw samples of one pair, and what follows from them."""

    samples: tuple[Sample, ...]
    replicates: int
    time_ms: float
    reference_ms: float
    speedup: Estimate
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """For each further baseline: `time_ms`, `speedup`, `speedup_low`, `speedup_high` (of the solution over it)."""
    host: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """For each side, per call, by its own account: `wall_ms`, what a caller would wait for, launches and all, and
    `enqueue_ms` (CUDA), how long the host takes to hand the work over."""
    floor_ms: float | None = None
    sol_fraction: float | None = None
    """floor_ms / time_ms: the share of the speed of light that was reached."""
    timed_calls: int = 0
    """Of the solution, in all samples."""
    verified_calls: int = 0
    """Of those, how many had their output compared with the oracle."""
    deciding_replicates: int | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of `records.jsonl`: everything about one pair that a reader of the run needs."""

    schema_version: int = SCHEMA_VERSION
    problem: str
    solution: str
    device: str
    size: str
    precision: str
    status: Status
    reason: str = ""
    message: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    time_ms: float | None = None
    reference_ms: float | None = None
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    host: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """`wall_ms` and `enqueue_ms` of `solution`, `eager` and every further baseline."""
    floor_ms: float | None = None
    sol_fraction: float | None = None
    build_s: float | None = None
    cached: bool | None = None
    kernels: tuple[Mapping[str, Any], ...] = ()
    """Of each compiled CUDA kernel, by ptxas' account: `name`, `registers`, `stack_bytes` and `local_bytes` of a thread
    (spills are there), and the static `shared_bytes` of a block."""
    judge_s: float | None = None
    """Seconds from the end of the build to the verdict, before anything was timed."""
    isolation: Mapping[str, str] = field(default_factory=dict)
    """Layer name to `on`, or `off: why`."""
    flags: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    """What spoiled the measurement and what can be done about it, a sentence each."""
    cases_left_out: tuple[str, ...] = ()
    """Case families that this problem cannot be asked: `case_not_possible:NAME`, `case_not_finite:NAME`."""
    replicates: int = 0
    replicate_log_ratios: tuple[float, ...] = ()
    """d_p, the median log-ratio of each replicate (natural log, reference over solution)."""
    deciding_replicates: int | None = None
    """The spread of so many first replicates decided how many to take, and is the one behind the interval (Stein);
    None: the number was fixed beforehand."""
    timed_calls: int = 0
    verified_calls: int = 0
    problem_sha: str = ""
    solution_sha: str = ""
    environment_key: str = ""

    @property
    def id(self) -> str:
        return f"{self.problem}/{self.solution}"

    @property
    def key(self) -> tuple[str, str]:
        return (self.problem, self.solution)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, ready for `json.dumps`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Read a record; unknown fields of a newer writer are ignored.

        Raises ValueError when a required field is missing or has the wrong type.
        """
        known = {f.name: data[f.name] for f in dataclasses.fields(cls) if f.name in data}
        missing = [
            name for name in ("problem", "solution", "device", "size", "precision", "status") if name not in known
        ]
        if missing:
            raise ValueError(f"missing field {missing[0]!r}")
        for name in ("problem", "solution", "device", "size", "precision"):
            if not isinstance(known[name], str):
                raise ValueError(f"field {name!r} is not text")
        for name in _NUMBERS:
            value = known.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"field {name!r} is not a number")
        known["status"] = Status(known["status"])
        for name in ("flags", "advice", "cases_left_out", "replicate_log_ratios", "kernels"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)


_NUMBERS = (
    "speedup", "speedup_low", "speedup_high", "time_ms", "reference_ms", "floor_ms", "sol_fraction", "build_s",
    "judge_s",
)  # fmt: skip
