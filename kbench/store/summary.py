"""A run in one line: what `kbench list` shows of each, and the totals below a table."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench import stats
from kbench.errors import KbenchError
from kbench.model import Estimate, Record, Status
from kbench.store.runs import Key, load_run, read_header, started

EAGER = "eager"
"""The baseline that a record's own speedup is over."""
FAST_P = (0.0, 1.0, 1.5, 2.0)
"""The thresholds that tables show."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run below `results/`."""

    name: str
    path: Path
    started: str
    """Local time to the minute, e.g. `2026-05-04 13:37`."""
    device: str = ""
    counts: Mapping[Status, int] = field(default_factory=dict)
    geometric_mean: float | None = None
    """Of the speedups of its correct pairs; None where there is none."""
    trouble: str = ""
    """Why nothing more is known, e.g. a damaged line."""


def summarise(path: Path, root: Path) -> RunSummary:
    """Summarise the run directory `path`, named as seen from `root`. What is wrong with it is told."""
    begun = datetime.datetime.fromtimestamp(started(path)).strftime("%Y-%m-%d %H:%M")
    name = str(path.relative_to(root)) if path != root else path.name
    try:
        run = load_run(path)
    except KbenchError as error:
        return RunSummary(name=name, path=path, started=begun, device=_device_of_damaged(path), trouble=_trouble(error))
    return RunSummary(
        name=name, path=path, started=begun, counts=statuses(run.records),
        device=device_name(run.environment, run.records), geometric_mean=mean_speedup(run.records),
    )  # fmt: skip


def _trouble(error: KbenchError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what


def _device_of_damaged(path: Path) -> str:
    try:
        return device_name(read_header(path / "run.yaml")["environment"], {})
    except KbenchError:
        return ""


def device_name(environment: Mapping[str, Any], records: Mapping[Key, Record]) -> str:
    """The GPU's name, or the CPU's where no pair ran on a GPU; the bare kind where neither is known."""
    kinds = sorted({record.device.partition(":")[0] for record in records.values()})
    parts = {"cuda": environment.get("gpu"), "cpu": environment.get("machine")}
    names = [
        str(part.get("name") or part.get("cpu_model") or kind) if isinstance(part, Mapping) else kind
        for kind in kinds
        for part in (parts.get(kind),)
    ]
    return ", ".join(names)


def speedup_of(record: Record) -> Estimate | None:
    """The speedup of a correct record; without an interval in the record every ratio is possible."""
    if record.status is not Status.CORRECT or record.speedup is None:
        return None
    if not record.speedup_low or record.speedup_high is None:
        return Estimate(value=record.speedup, low=0.0, high=math.inf)
    return Estimate(value=record.speedup, low=record.speedup_low, high=record.speedup_high)


def statuses(records: Mapping[Key, Record]) -> dict[Status, int]:
    """How many records have each status, of those that occur, in the order of `Status`."""
    counts = {status: sum(record.status is status for record in records.values()) for status in Status}
    return {status: count for status, count in counts.items() if count}


def mean_speedup(records: Mapping[Key, Record]) -> float | None:
    """The geometric mean of the correct pairs' speedups, or None."""
    values = [estimate.value for record in records.values() if (estimate := speedup_of(record))]
    return stats.geometric_mean(values) if values else None


def fast_p(records: Mapping[Key, Record], p: float, *, baseline: str = EAGER) -> float | None:
    """The share of problems with a correct solution more than `p` times as fast as the baseline, from 0 to 1.

    KernelBench's fast_p (Ouyang et al. 2025, arXiv:2502.10517): of a problem's correct solutions the fastest
    counts, and p = 0 asks only for correctness. The denominator is `judged_problems`. A correct solution without
    a time for this baseline counts for p = 0 only. None where no problem was judged.
    """
    problems = judged_problems(records)
    if not problems:
        return None
    reached = {
        record.problem
        for record in records.values()
        if record.status is Status.CORRECT and (p <= 0 or (_speedup_over(record, baseline) or 0.0) > p)
    }
    return len(reached) / len(problems)


def judged_problems(records: Mapping[Key, Record]) -> frozenset[str]:
    """The problems with at least one pair that was judged.

    What this machine had to skip, and what failed for a reason of kbench's own, says nothing of the solutions; a
    problem with nothing else is left out, so that a run of CUDA and CPU solutions is not halved on either.
    """
    undecided = (Status.SKIPPED, Status.INFRA_ERROR)
    return frozenset(record.problem for record in records.values() if record.status not in undecided)


def baselines_of(records: Mapping[Key, Record]) -> tuple[str, ...]:
    """`eager`, and each further baseline that any record was timed against."""
    return tuple(dict.fromkeys([EAGER, *(name for record in records.values() for name in record.baselines)]))


def _speedup_over(record: Record, baseline: str) -> float | None:
    return record.speedup if baseline == EAGER else record.baselines.get(baseline, {}).get("speedup")


def totals(records: Mapping[Key, Record]) -> str:
    """`5 correct, 2 incorrect`, most usual words first."""
    return ", ".join(f"{count} {status}" for status, count in statuses(records).items())
