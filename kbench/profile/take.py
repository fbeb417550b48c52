"""Profile one pair: build it, see that it runs, watch both sides, and set their figures beside what is possible."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from kbench.build.kernels import Resources
from kbench.build.service import Build, BuildRoom, build
from kbench.config import RunOptions
from kbench.engine.events import Listener
from kbench.engine.lock import timing_lock
from kbench.engine.pair import possible, release_memory, torch_device, woken
from kbench.engine.prepare import Prepared, prepare
from kbench.engine.records import padded_source, settled
from kbench.engine.staff import staffed
from kbench.errors import InfraError, UsageError
from kbench.judge.cases import SeedSource
from kbench.judge.desk import Desk
from kbench.judge.judging import Question, ask_first, inspect
from kbench.judge.reference import Reference
from kbench.judge.stream import Stream
from kbench.machine.tools import find_tool
from kbench.model import Device, Job, Verdict
from kbench.profile import ncu
from kbench.profile.model import REFERENCE, SOLUTION, Profile, Section, Side, Work
from kbench.profile.summary import summarise
from kbench.profile.watch import CALLS, Post, Unwatchable, measure_with_ncu, watch
from kbench.remote.hire import Post as WorkerPost
from kbench.remote.hire import hire
from kbench.remote.link import WorkerFailed


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be looked at beyond the profiler's own events, and with what."""

    ncu: bool = False
    arch: str | None = None
    """Compute capability to compile for where no GPU says otherwise."""


@contextlib.contextmanager
def prepare_pair(options: RunOptions) -> Iterator[tuple[Prepared, Job]]:
    """Plan the one pair that `options` name. A CUDA solution is planned for CUDA even where there is no GPU.

    Raises UsageError unless they name exactly one pair, and what `prepare` raises.
    """
    options = dataclasses.replace(options, gpus=1)
    with contextlib.ExitStack() as stack:
        prepared = stack.enter_context(prepare(options, to_build=True))
        job = _only(prepared)
        if options.device == "auto" and prepared.device is Device.CPU and job.solution.devices == {Device.CUDA}:
            on_cuda = dataclasses.replace(options, device="cuda")
            prepared = stack.enter_context(prepare(on_cuda, to_build=True))
            job = _only(prepared)
        yield prepared, job


def _only(prepared: Prepared) -> Job:
    if len(prepared.jobs) != 1:
        raise UsageError(
            f"a profile is of one pair, and {len(prepared.jobs)} were named", hint="name two files, or choose with -k"
        )
    return prepared.jobs[0]


def take_profile(prepared: Prepared, job: Job, *, wanted: Wanted, logs: Path, listener: Listener) -> Profile:
    """Everything there is to say about a pair on this machine.

    A solution that does not build, load or run is a verdict in the profile. Raises ProblemError for a reference that
    does not run, InfraError.
    """
    profile = Profile(
        problem=job.problem.id, solution=job.solution.name, device=job.device.value, size=job.size,
        verdict=settled(job),
    )  # fmt: skip
    if profile.verdict is not None:
        return profile
    with contextlib.ExitStack() as stack:
        hiring, room = stack.enter_context(staffed(prepared, listener, also_hidden=[], any_arch=wanted.arch))
        if not room.compile_only:
            folder = prepared.options.lock_dir
            stack.enter_context(timing_lock(prepared.gpu, folder=folder, waiting=listener.note))
        listener.stage(job.solution.id, "building")
        built = build(
            room, source=padded_source(job), shown_path=job.solution.shown_path, log=logs / "build.log"
        )
        if built.failure is not None:
            return dataclasses.replace(profile, verdict=built.failure)
        post = Post(
            hiring=hiring, job=job, libraries=built.libraries, environment=room.toolchain.environment(), logs=logs
        )
        if job.device is Device.CUDA:
            profile = dataclasses.replace(profile, resources=built.kernels)
            if not built.kernels:
                profile = _noted(profile, "no kernel was found in what the solution built")
        if room.compile_only:
            return _noted(profile, "no GPU is here to run on: no kernels' times, no bandwidth, no ncu, no reference")
        try:
            return _Taking(prepared, post, room, built, wanted, listener).complete(profile)
        except torch.OutOfMemoryError as error:
            raise InfraError(
                "the device's memory is too small for the reference", why=str(error).splitlines()[0],
                hint="--size, or a freer device",
            ) from error  # fmt: skip


def _noted(profile: Profile, note: str) -> Profile:
    return dataclasses.replace(profile, notes=(*profile.notes, note))


class _Taking:
    """A profile on the way, on a machine with the device."""

    def __init__(
        self, prepared: Prepared, post: Post, room: BuildRoom, built: Build, wanted: Wanted, listener: Listener
    ) -> None:
        self._prepared, self._post, self._room, self._built = prepared, post, room, built
        self._wanted, self._listener = wanted, listener
        self._job = post.job

    def complete(self, profile: Profile) -> Profile:
        self._stage("running")
        device = torch_device(self._job)
        reference = Reference(self._job.problem, size=self._job.size, device=device)
        question = ask_first(reference, SeedSource(self._prepared.options.seed))
        with Desk(reference, question.case, question.expected) as desk:
            try:
                judged = self._run_once(desk, question, reference)
            except WorkerFailed as failed:
                return dataclasses.replace(profile, verdict=failed.verdict)
            work = _work(reference, question, desk)
        if judged is not None:
            profile = _noted(profile, f"{judged.status} ({judged.reason}), profiled all the same: {judged.message}")
        del question, reference
        release_memory()
        try:
            sides = (self._side(SOLUTION, profile.resources), self._side(REFERENCE, ()))
        except Unwatchable as error:
            return dataclasses.replace(profile, verdict=error.verdict)
        profile = dataclasses.replace(profile, sides=sides, work=work)
        for side in sides:
            if not side.activities:
                profile = _noted(profile, f"the profiler saw nothing that the {side.name} did")
        return self._with_ncu(profile) if self._wanted.ncu else profile

    def _run_once(self, desk: Desk, question: Question, reference: Reference) -> Verdict | None:
        """See that it loads and runs, as any worker does. Returns what is wrong with its output; raises WorkerFailed.
        """
        worker = WorkerPost(
            source=padded_source(self._job),
            shown_path=self._job.solution.shown_path,
            role="candidate",
            precision=self._job.problem.precision,
            log=self._post.logs / "run.log",
            libraries=self._built.libraries,
            environment=self._room.toolchain.environment(),
            device=woken(reference.device),
        )
        with hire(self._post.hiring, worker, descriptors=desk.descriptors) as link:
            link.load()
            link.construct(desk.setup(mode=reference.problem.mode))
            return inspect(link, Stream(desk, reference.device), question)

    def _side(self, name: str, resources: tuple[Resources, ...]) -> Side:
        self._stage(f"profiling the {name}")
        own = name == SOLUTION
        try:
            events = watch(self._post, role="candidate" if own else "reference")
        except Unwatchable as error:
            if own:
                raise
            raise InfraError("the reference could not be profiled", why=str(error)) from error
        source = padded_source(self._job) if own else ""
        return summarise(name, events, calls=CALLS, resources=resources, source=source)

    def _with_ncu(self, profile: Profile) -> Profile:
        tool = find_tool(os.environ, "ncu")
        if self._job.device is not Device.CUDA:
            return _noted(profile, "--ncu says nothing of a CPU")
        if tool is None:
            return _noted(profile, "ncu was not found: not on the path, nor below CUDA_HOME or /usr/local/cuda")
        if not profile.resources:
            return _noted(profile, "ncu was not started: the solution built no kernel of its own")
        self._stage("measuring with ncu")
        sections: tuple[Section, ...] = ()
        try:
            sections = measure_with_ncu(self._post, tool, profile.resources)
        except ncu.Unreadable as error:
            profile = _noted(profile, f"ncu measured nothing: {error}")
        return dataclasses.replace(profile, sections=sections)

    def _stage(self, stage: str) -> None:
        self._listener.stage(self._job.solution.id, stage)


def _work(reference: Reference, question: Question, desk: Desk) -> Work:
    least_bytes, least_flops, ceilings = possible(reference, question, desk)
    return Work(
        least_bytes=least_bytes, least_flops=least_flops,
        bytes_per_s=ceilings.bytes_per_s, flops_per_s=ceilings.flops_per_s,
    )  # fmt: skip
