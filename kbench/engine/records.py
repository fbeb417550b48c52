"""What becomes of a pair: its findings while it is worked on, its record at the end. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kbench.build.kernels import on_record
from kbench.build.service import Build
from kbench.machine.telemetry import PlacedReading
from kbench.model import Job, Measurement, Record, Sample, Status, Verdict

Outcome = tuple[Record, tuple[Sample, ...], tuple[PlacedReading, ...]]
"""A pair's record, its samples, and the device's telemetry meanwhile. Both are empty where nothing was timed."""


@dataclass
class Findings:
    """What is known of a pair so far; becomes its record whatever happens."""

    verdict: Verdict
    measurement: Measurement | None = None
    log_ratios: tuple[float, ...] = ()
    isolation: Mapping[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    advice: tuple[str, ...] = ()
    readings: tuple[PlacedReading, ...] = ()
    left_out: list[str] = field(default_factory=list)
    judge_s: float | None = None
    lacked_memory: bool = False
    """On the device: a worker, by what it says, or the judge."""
    sampled: bool = False
    """Whether samples that count have been asked for."""


def settled(job: Job) -> Verdict | None:
    """The verdict of a pair that needs no worker."""
    if job.skip_reason is not None:
        return Verdict(status=Status.SKIPPED, reason=job.skip_reason)
    if job.problem.defect is not None:
        return Verdict(status=Status.INFRA_ERROR, reason="problem", message=job.problem.defect)
    if job.solution.defect is not None:
        return Verdict(status=Status.LOAD_ERROR, reason="no_candidate", message=job.solution.defect)
    return None


def padded_source(job: Job) -> str:
    """The solution's text with its lines where they stand in the file the user gave (a raw response, say)."""
    return "\n" * job.solution.line_offset + job.solution.path.read_text(errors="replace")


def make_record(
    job: Job, build: Build | None, verdict: Verdict, environment_key: str, *, findings: Findings | None = None
) -> Record:
    """The one record of a pair. Speeds are given only where the verdict is `correct`."""
    evidence: dict[str, Any] = {key: value for key, value in verdict.evidence.items() if key != "text"}
    record = Record(
        problem=job.problem.id,
        solution=job.solution.name,
        device=job.device.value,
        size=job.size,
        precision=job.problem.precision.value,
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        evidence=evidence,
        build_s=None if build is None else round(build.seconds, 3),
        cached=None if build is None else build.cached,
        kernels=() if build is None else tuple(on_record(kernel) for kernel in build.kernels),
        judge_s=findings.judge_s if findings else None,
        isolation=dict(findings.isolation) if findings else {},
        flags=tuple(findings.flags) if findings else (),
        advice=findings.advice if findings else (),
        cases_left_out=tuple(findings.left_out) if findings else (),
        problem_sha=job.problem.sha,
        solution_sha=job.solution.sha,
        environment_key=environment_key,
    )
    measured = findings.measurement if findings else None
    if findings is None or measured is None or verdict.status is not Status.CORRECT:
        return record
    return dataclasses.replace(
        record,
        speedup=measured.speedup.value,
        speedup_low=measured.speedup.low,
        speedup_high=measured.speedup.high,
        time_ms=measured.time_ms,
        reference_ms=measured.reference_ms,
        baselines=measured.baselines,
        host=measured.host,
        floor_ms=measured.floor_ms,
        sol_fraction=measured.sol_fraction,
        replicates=measured.replicates,
        replicate_log_ratios=findings.log_ratios,
        deciding_replicates=measured.deciding_replicates,
        timed_calls=measured.timed_calls,
        verified_calls=measured.verified_calls,
    )
