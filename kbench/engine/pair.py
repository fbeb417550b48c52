"""One pair from its build to its record: judge, measure, conclude."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from kbench.arena import NoDeviceMemory
from kbench.build.service import Build
from kbench.config import COMPILE_MODES
from kbench.engine.records import Findings, Outcome, make_record, padded_source
from kbench.errors import InfraError, KbenchError, ProblemError
from kbench.judge.cases import SeedSource
from kbench.judge.desk import Desk
from kbench.judge.exam import Exam, Exams
from kbench.judge.judging import Question, judge
from kbench.judge.oracle import run_reference
from kbench.judge.reference import Reference
from kbench.judge.stream import Stream
from kbench.judge.watched import Watch
from kbench.machine.telemetry import Gauge, NoGauge
from kbench.measure import physics
from kbench.measure.checks import TimedOutputWrong
from kbench.measure.crew import Crew, SideSpec
from kbench.measure.live import BaselineFailed, Bench, Disturbed, LiveBackend
from kbench.measure.replicates import Effort, take_samples
from kbench.measure.sampling import Budget
from kbench.measure.spoiled import advise
from kbench.measure.summary import summarise
from kbench.measure.window import CPU_SLACK, CUDA_SLACK, SOLUTION
from kbench.model import Device, Job, Status, Verdict
from kbench.remote.hire import Hiring, Post
from kbench.remote.link import WorkerFailed, WorkerLink
from kbench.remote.spares import Spares
from kbench.sanitize.check import sanitize

_CPU_LEAST_SAMPLE_NS = 4e6
_CUDA_LEAST_SAMPLE_NS = 2e6
"""So long that the window's slack is a small share of a sample."""
_TIMED_CASE = "randomised_parameters"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How pairs are judged and measured in this run."""

    hiring: Hiring
    spares: Spares
    seeds: SeedSource
    exams: Exams
    baselines: tuple[str, ...]
    effort: Effort
    blocks: int
    min_samples: int
    min_block_ms: float
    environment_key: str
    build_environment: Mapping[str, str]
    log_path: Callable[[str, str], Path]
    stage: Callable[[str, str], None]
    sanitize: bool = False
    gauge: Gauge = field(default_factory=NoGauge)
    """Read between the timed calls."""


def judged_on(device: Device) -> torch.device:
    """Where jobs for a device run: on the CPU, or on the one GPU that is to be seen."""
    return torch.device("cpu") if device is Device.CPU else torch.device("cuda:0")


def torch_device(job: Job) -> torch.device:
    """Where a job runs."""
    return judged_on(job.device)


def woken(device: torch.device) -> str:
    """The device that a worker makes its context on before anything else; none where there is nothing to be made."""
    return str(device) if device.type == "cuda" else ""


def run_pair(job: Job, build: Build, settings: Settings) -> Outcome:
    """Judge and measure one built solution. Every failure is a record, but for a device that fails under the judge
    itself: nothing more can be done with it in this process. Raises InfraError then, and whatever interrupts.
    """
    try:
        return _run_pair(job, build, settings)
    except torch.AcceleratorError as error:
        raise InfraError(
            f"the device failed under the judge while {job.solution.id} was run", why=str(error).partition("\n")[0],
            hint="what has ended is kept: go on with --resume; should it fail again at this pair, leave that out (-k)",
        ) from error  # fmt: skip


def _run_pair(job: Job, build: Build, settings: Settings) -> Outcome:
    findings = _findings(job, build, settings)
    untimed = findings.lacked_memory and not findings.sampled  # failing must not buy another measurement
    if untimed and settings.spares.dismiss():  # it may be they who had what it lacked
        with settings.spares.barred():
            findings = _findings(job, build, settings)
    samples = findings.measurement.samples if findings.measurement else ()
    record = make_record(job, build, findings.verdict, settings.environment_key, findings=findings)
    return record, samples, findings.readings


def _says_memory(verdict: Verdict) -> bool:
    """The device's, by what a worker says of itself."""
    return verdict.status is Status.OUT_OF_MEMORY and verdict.reason == "allocation"


def _findings(job: Job, build: Build, settings: Settings) -> Findings:
    findings = Findings(Verdict(status=Status.INFRA_ERROR, reason="unfinished"))
    try:
        _examine(job, build, settings, findings)
        if settings.sanitize and findings.verdict.status is Status.CORRECT:
            release_memory()
            settings.stage(job.solution.id, "sanitizing")
            log_path = settings.log_path
            sanitized = sanitize(settings.hiring, job, libraries=build.libraries, log_path=log_path)
            findings.verdict = sanitized.verdict
            findings.flags += sanitized.flags
    except ProblemError as error:
        findings.verdict = Verdict(status=Status.INFRA_ERROR, reason="problem", message=str(error))
    except BaselineFailed as error:
        findings.lacked_memory = _says_memory(error.verdict)
        findings.verdict = Verdict(status=Status.INFRA_ERROR, reason="baseline", message=str(error))
    except (torch.OutOfMemoryError, NoDeviceMemory) as error:
        message = f"the judge ran out of device memory: {str(error).splitlines()[0]}; hint: --size, or a freer device"
        findings.lacked_memory = True
        findings.verdict = Verdict(status=Status.INFRA_ERROR, reason="judge_memory", message=message)
        settings.exams.forget()
    except KbenchError as error:
        findings.verdict = Verdict(status=Status.INFRA_ERROR, reason="kbench", message=str(error))
    finally:
        release_memory()
    return findings


def _examine(job: Job, build: Build, settings: Settings, findings: Findings) -> None:
    device = torch_device(job)
    settings.stage(job.solution.id, "judging")
    start = time.monotonic()
    exam = settings.exams.exam(job.problem, size=job.size, device=device)
    reference, first = exam.reference, exam.first()
    specs = [SideSpec(name=SOLUTION, post=_candidate(job, build, settings, "timing"))]
    specs += [_baseline(name, reference, settings, job) for name in settings.baselines]
    with (
        contextlib.ExitStack() as in_the_end,
        Desk(reference, first.case, first.expected) as desk,
        Crew(specs, spares=settings.spares, descriptors=desk.descriptors, device=device) as crew,
    ):
        stream = Stream(desk, device)
        asked = _Asked(first, exam.questions(), once_right=crew.expect_all)
        link = crew.hire_to_judge(_candidate(job, build, settings, "judge"))
        in_the_end.callback(_note_walls, link, findings)
        findings.verdict = _judge(link, stream, reference, asked, settings.seeds)
        findings.lacked_memory = _says_memory(findings.verdict)
        crew.judged(right=findings.verdict.status is Status.CORRECT)
        findings.left_out = list(exam.left_out)
        findings.judge_s = round(time.monotonic() - start, 3)
        if findings.verdict.status is Status.CORRECT:
            if not asked.decidable:
                findings.flags.append("precision_undecidable")
            timed = asked.timed
            history = exam.depends_on_history(timed)
            del first, asked
            bench = Bench(
                reference=reference, desk=desk, stream=stream, question=timed, seeds=settings.seeds, history=history
            )
            _measure(job, settings, bench, crew, exam, findings)


def _note_walls(link: WorkerLink, findings: Findings) -> None:
    """What stood around a worker is known when it has ended."""
    if link.ending is not None:
        findings.isolation = link.ending.layers


class _Asked:
    """The questions as they are asked, of which one is kept: its state and tolerance are those of the timed calls."""

    def __init__(self, first: Question, questions: Iterable[Question], *, once_right: Callable[[], None]) -> None:
        """`once_right` is called when the first is answered, and well: most that are wrong are so from the start."""
        self.timed = first
        self.decidable = first.expected.decidable
        self._questions = questions
        self._once_right = once_right

    def __iter__(self) -> Iterator[Question]:
        for number, question in enumerate(self._questions):
            if number == 1:
                self._once_right()
            if question.case.name == _TIMED_CASE:
                self.timed = question
                self.decidable = self.decidable and question.expected.decidable
            yield question


def _judge(
    link: WorkerLink, stream: Stream, reference: Reference, questions: Iterable[Question], seeds: SeedSource
) -> Verdict:
    try:
        link.load()
        link.construct(stream.desk.setup(mode=reference.problem.mode))
    except WorkerFailed as failed:
        return failed.verdict
    return judge(link, stream, reference, questions, seeds)


def _measure(job: Job, settings: Settings, bench: Bench, crew: Crew, exam: Exam, findings: Findings) -> None:
    def progress(replicate: int, of: int) -> None:
        settings.stage(job.solution.id, f"timing {replicate + 1}/{of}")

    backend = LiveBackend(bench, crew, settings.gauge)
    try:
        taken = take_samples(
            backend, list(crew.specs), effort=settings.effort, progress=progress,
            budget=_budget(settings, bench.desk, bench.reference.device),
            slack=CPU_SLACK if job.device is Device.CPU else CUDA_SLACK,
        )  # fmt: skip
    except WorkerFailed as failed:
        findings.verdict = failed.verdict
        findings.lacked_memory = _says_memory(failed.verdict)
        return
    except (TimedOutputWrong, Disturbed) as wrong:
        findings.verdict = wrong.verdict
        return
    finally:
        findings.sampled = backend.begun
    if exam.floor_ms is None:  # once for all solutions: the device is warm now
        crew.await_quiet()
        exam.floor_ms = _floor(bench)
    floor = exam.floor_ms
    measurement, findings.log_ratios = summarise(taken, baselines=settings.baselines, floor=floor)
    findings.readings = taken.readings
    spoiled = advise([placed.reading for placed in taken.readings])
    findings.flags += [*measurement.flags, *dict.fromkeys(advice.flag for advice in spoiled)]
    findings.advice = tuple(advice.sentence for advice in spoiled)
    if measurement.host[SOLUTION].get("enqueue_ms", 0.0) > measurement.time_ms:
        findings.flags.append("launch_bound")
    declared = bool(job.problem.floor)
    if not declared and physics.is_impossible(measurement.reference_ms, floor):
        findings.flags.append("floor_doubtful")  # trusted eager beats what was counted, so the count is wrong
    elif physics.is_impossible(measurement.time_ms, floor):
        findings.verdict = Verdict(
            status=Status.REJECTED,
            reason="below_floor",
            message=f"{measurement.time_ms:.4g} ms is below the physical floor of {floor:.4g} ms on this device",
            evidence={"time_ms": measurement.time_ms, "floor_ms": floor},
        )
    findings.measurement = measurement


def _candidate(job: Job, build: Build, settings: Settings, log: str) -> Post:
    return Post(
        source=padded_source(job),
        shown_path=job.solution.shown_path,
        role="candidate",
        precision=job.problem.precision,
        log=settings.log_path(job.solution.id, log),
        libraries=build.libraries,
        environment=settings.build_environment,
        device=woken(torch_device(job)),
    )


def _baseline(name: str, reference: Reference, settings: Settings, job: Job) -> SideSpec:
    mode = COMPILE_MODES.get(name)
    compiled = mode is not None
    cache = settings.hiring.server.shared_folder("compile-cache") if compiled else None
    post = Post(
        source=reference.source,
        shown_path=job.problem.path.name,
        role="reference",
        precision=job.problem.precision,
        log=settings.log_path(job.solution.id, f"baseline-{name}"),
        overrides=reference.overrides,
        environment={"TORCHINDUCTOR_CACHE_DIR": str(cache), "TRITON_CACHE_DIR": f"{cache}/triton"} if cache else {},
        writable=cache,
        device=woken(torch_device(job)),
    )
    return SideSpec(name=name, post=post, compile_mode=mode)


def _budget(settings: Settings, desk: Desk, device: torch.device) -> Budget:
    on_cuda = device.type == "cuda"
    return Budget(
        blocks=settings.blocks,
        min_samples=settings.min_samples,
        min_block_ns=settings.min_block_ms * 1e6,
        least_sample_ns=_CUDA_LEAST_SAMPLE_NS if on_cuda else _CPU_LEAST_SAMPLE_NS,
        most_calls=desk.sets,
    )


def _floor(bench: Bench) -> float:
    least_bytes, least_flops, ceilings = possible(bench.reference, bench.question, bench.desk)
    return physics.floor_ms(ceilings, least_bytes=least_bytes, least_flops=least_flops)


def possible(reference: Reference, question: Question, desk: Desk) -> tuple[float, float, physics.Ceilings]:
    """The least bytes and operations of a forward, counted or as the sidecar says, and the device's ceilings."""
    case = question.case
    with Watch() as watch:
        run_reference(reference, case, inputs=[tensor.clone() for tensor in case.inputs.tensors])
    counted_bytes = float(desk.bytes_moved())
    least_bytes, least_flops = physics.least_work(
        reference.problem.floor, counted_bytes=counted_bytes, counted_flops=watch.flops
    )
    return least_bytes, least_flops, physics.measure_ceilings(reference.device, typical_bytes=int(counted_bytes))


def release_memory() -> None:
    """Give the device back what this process holds of it and no longer uses."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
