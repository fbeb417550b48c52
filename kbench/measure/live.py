"""Workers as sides: fresh processes on the same buffers, their inputs, their checks, and whose fault a failure is."""

from __future__ import annotations

import concurrent.futures
import contextlib
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from kbench.judge.cases import SeedSource
from kbench.judge.clock import Sampled
from kbench.judge.desk import Desk
from kbench.judge.judging import Question
from kbench.judge.reference import Drawn, Reference
from kbench.judge.stream import Stream
from kbench.machine.reading import Reading
from kbench.machine.telemetry import Gauge
from kbench.measure.checks import Checks
from kbench.measure.crew import Crew, SideSpec
from kbench.measure.window import SOLUTION
from kbench.model import Status, Timed, Verdict
from kbench.remote.link import WorkerFailed, WorkerLink

_COMPILE_TIMEOUT_S = 600.0
_BUSY_NS = 1e6
"""An idle device does the judge a trifle in 30 us. A time slice of somebody else's kernel takes 2 ms."""


class BaselineFailed(Exception):
    """A trusted side failed, so there is nothing to compare with. `verdict` says how, as of a solution."""

    def __init__(self, side: str, verdict: Verdict) -> None:
        super().__init__(f"the {side} baseline failed: {verdict.message}")
        self.verdict = verdict


class Disturbed(Exception):
    """The device was not left alone while the other side was timed; `verdict` says so."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything one pair's measurement needs."""

    reference: Reference
    desk: Desk
    stream: Stream
    question: Question
    """The case whose state both sides begin with, and whose tolerance timed outputs are held to."""
    seeds: SeedSource
    history: bool
    """Whether an output depends on the calls before it: the state is then set before each sample."""


@dataclass
class LiveSide:
    """A worker as a `Side`: every call of it gets inputs that never were before."""

    name: str
    link: WorkerLink
    bench: Bench
    drawn: list[Drawn] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    last: Sampled | None = None

    def sample(self, *, calls: int, wall: bool = False) -> Timed:
        self.seeds = [self.bench.seeds.next() for _ in range(calls)]
        try:
            if self.bench.history:
                self.link.set_state()
            with _one_thread():
                self.drawn = [self.bench.reference.draw(seed) for seed in self.seeds]
                self.last = self.bench.stream.sample(self.link, self.drawn, wall=wall)
        except WorkerFailed as failed:
            raise _blame(self.name, failed) from failed
        return self.last.timed

    def rest(self) -> None:
        try:
            self.link.freeze()
        except WorkerFailed as failed:
            raise _blame(self.name, failed) from failed

    def set_state(self) -> None:
        """Take over what lies on the desk."""
        try:
            self.link.set_state()
            self.link.freeze()
        except WorkerFailed as failed:
            raise _blame(self.name, failed) from failed


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Threads of our own would take turns with the worker's, which wait for their work by spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LiveBackend:
    """Puts workers on the bench of one pair."""

    def __init__(self, bench: Bench, crew: Crew, gauge: Gauge) -> None:
        self._bench = bench
        self._crew = crew
        self._gauge = gauge
        self._checks: Checks | None = None

    @property
    def begun(self) -> bool:
        """Whether samples that count have been asked for."""
        return self._checks is not None

    @contextlib.contextmanager
    def staffed(self, names: Sequence[str]) -> Iterator[list[LiveSide]]:
        """All are hired in order, and then construct their modules at once, each on cores that have nothing else to do.

        Those of the replicate before may still be going meanwhile, where the device has room for both. Raises
        WorkerFailed for the solution's own faults, BaselineFailed for ours.
        """
        specs = [self._crew.specs[name] for name in names]
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(link) for link in self._crew.hire(names)]
            with concurrent.futures.ThreadPoolExecutor(len(specs)) as pool:  # where one fails, the others end first
                list(pool.map(lambda spec, link: _construct(self._bench, spec, link), specs, links))
            yield [_ready(self._bench, *each, self._question()) for each in zip(specs, links, strict=True)]
            stack.pop_all()
        self._crew.part_with(dict(zip(names, links, strict=True)))

    def follow(self, sides: Sequence[LiveSide], *, samples: int, calls: int) -> Guard:
        """What comes from here on is evidence: nobody else comes or goes meanwhile."""
        self._crew.await_quiet()
        bench = self._bench
        self._checks = Checks(
            bench.reference, bench.stream, bench.seeds, self._question(),
            samples=samples, calls=calls, sides=sides, history=bench.history,
        )  # fmt: skip
        self._gauge.begin()
        return Guard(self._checks)

    def read(self) -> Reading | None:
        return self._gauge.read()

    def _question(self) -> Question:
        """A replicate begins with the parameters that the one before has changed to."""
        return self._checks.question if self._checks else self._bench.question


class Guard:
    """Follows every sample: checks the solution's outputs, and that it leaves the device alone on others' turns."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._idle_ns: list[float] = []

    @property
    def verified(self) -> int:
        return self._checks.done

    def after(self, side: LiveSide, number: int) -> None:
        """Raises TimedOutputWrong, Disturbed, WorkerFailed."""
        assert side.last is not None
        if side.name == SOLUTION:
            self._checks.after(side, number)
            return
        self._idle_ns.append(side.last.timed.idle_ns)
        if len(self._idle_ns) >= 5 and statistics.median(self._idle_ns) > _BUSY_NS:
            said = "the device was kept busy while the reference was timed: a kernel of the solution was still running"
            raise Disturbed(Verdict(status=Status.REJECTED, reason="device_busy", message=said))


def _construct(bench: Bench, spec: SideSpec, link: WorkerLink) -> None:
    """As far as it has not yet been done."""
    try:
        if not link.loaded:
            link.load()
        if not link.constructed:
            link.construct(bench.desk.setup(mode=bench.reference.problem.mode, compile_mode=spec.compile_mode))
    except WorkerFailed as failed:
        raise _blame(spec.name, failed) from failed


def _ready(bench: Bench, spec: SideSpec, link: WorkerLink, question: Question) -> LiveSide:
    """With its state set, and compiled where it is to be."""
    try:
        bench.desk.put_state(question.case.state)
        link.set_state()
        if spec.compile_mode:
            bench.stream.sample(link, [question.case.inputs], timeout_s=_COMPILE_TIMEOUT_S)
    except WorkerFailed as failed:
        raise _blame(spec.name, failed) from failed
    return LiveSide(name=spec.name, link=link, bench=bench)


def _blame(side: str, failed: WorkerFailed) -> Exception:
    """A solution answers for itself; a baseline's failure is no fault of the solution."""
    return failed if side == SOLUTION else BaselineFailed(side, failed.verdict)
