"""Measure a solution against its baselines: replicates of fresh processes on the same buffers, and what follows."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from kbench.judge.cases import Case, SeedSource
from kbench.judge.desk import Desk
from kbench.judge.judging import Question, check_answer
from kbench.judge.oracle import Expected, run_in_fp64
from kbench.judge.reference import Drawn, Reference
from kbench.measure.sampling import Budget, take_replicate
from kbench.measure.summary import SOLUTION
from kbench.measure.window import bound_by_window
from kbench.model import Sample, Status, Verdict
from kbench.remote.hire import Hiring, Post, hire
from kbench.remote.link import Timed, WorkerFailed, WorkerLink

_CHECKS_PER_REPLICATE = 5
_FLUSH_TIMES_L2 = 2
_COMPILE_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class SideSpec:
    """A side before it has a process."""

    name: str
    post: Post
    compile_mode: str | None = None


class TimedOutputWrong(Exception):
    """A timed call's output was not right; `verdict` says how."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class BaselineFailed(Exception):
    """A trusted side failed, so there is nothing to compare with."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything one pair's measurement needs."""

    reference: Reference
    desk: Desk
    question: Question
    """The case whose state both sides are timed with, and whose tolerance timed outputs are held to."""
    hiring: Hiring
    seeds: SeedSource
    budget: Budget
    replicates: int
    verify: bool
    """Whether timed outputs can be checked: not where they depend on earlier calls."""


class _LiveSide:
    """A worker as a `Side`."""

    def __init__(self, name: str, link: WorkerLink) -> None:
        self.name = name
        self.link = link

    def sample(self, *, calls: int, backlog_ns: int) -> Timed:
        try:
            return self.link.sample(calls=calls, backlog_ns=backlog_ns)
        except WorkerFailed as failed:
            raise _blame(self.name, failed) from failed


class _Feed:
    """New secret inputs at the same place before every call, and a cold L2."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.current: Drawn = bench.question.case.inputs
        device = bench.reference.device
        self._flush: torch.Tensor | None = None
        if device.type == "cuda":
            size = _FLUSH_TIMES_L2 * torch.cuda.get_device_properties(device).L2_cache_size
            self._flush = torch.empty(size, dtype=torch.uint8, device=device)

    def refresh(self) -> None:
        """Draw, lay out, flush; the device is idle afterwards."""
        self.current = self._bench.reference.draw(self._bench.seeds.next())
        self._bench.desk.put_inputs(self.current)
        if self._flush is not None:
            self._flush.zero_()
            torch.cuda.synchronize(self._flush.device)


def take_samples(
    bench: Bench, specs: Sequence[SideSpec], *, progress: Callable[[int, int], None]
) -> tuple[list[Sample], int]:
    """All replicates' samples and the number of timed calls whose output was compared with the oracle.

    Raises WorkerFailed or TimedOutputWrong for the solution's own faults, BaselineFailed for ours.
    """
    samples: list[Sample] = []
    verified = 0
    for replicate in range(bench.replicates):
        progress(replicate, bench.replicates)
        order = list(specs) if replicate % 2 == 0 else list(reversed(specs))
        with contextlib.ExitStack() as stack:
            live = {spec.name: _start(bench, spec, stack) for spec in order}
            feed = _Feed(bench)
            checks = _Checks(bench, feed)
            samples += take_replicate(
                replicate,
                [live[spec.name] for spec in order],
                refresh=feed.refresh,
                budget=bench.budget,
                after=lambda side, block, live=live, checks=checks: checks.after(live[side.name], block),  # type: ignore[misc]
            )
            verified += checks.done
    return bound_by_window(samples), verified


def _start(bench: Bench, spec: SideSpec, stack: contextlib.ExitStack) -> _LiveSide:
    load_s = _COMPILE_TIMEOUT_S if spec.compile_mode else None
    try:
        link = stack.enter_context(hire(bench.hiring, spec.post, descriptors=bench.desk.descriptors, load_s=load_s))
        link.load()
        link.construct(bench.desk.setup(mode=bench.reference.problem.mode, compile_mode=spec.compile_mode))
        bench.desk.put_inputs(bench.question.case.inputs)
        bench.desk.put_state(bench.question.case.state)
        link.set_state()
        if spec.compile_mode:
            link.call(
                expected=len(bench.question.expected.oracle),
                structure=bench.desk.structure,
                timeout_s=_COMPILE_TIMEOUT_S,
            )
    except WorkerFailed as failed:
        raise _blame(spec.name, failed) from failed
    return _LiveSide(spec.name, link)


def _blame(side: str, failed: WorkerFailed) -> Exception:
    """A solution answers for itself; a baseline's failure is no fault of the solution."""
    return failed if side == SOLUTION else BaselineFailed(f"the {side} baseline failed: {failed.verdict.message}")


class _Checks:
    """Demands the output of a few timed calls, chosen at random and known to the judge alone."""

    def __init__(self, bench: Bench, feed: _Feed) -> None:
        self._bench = bench
        self._feed = feed
        generator = random.SystemRandom()
        count = min(_CHECKS_PER_REPLICATE, bench.budget.blocks) if bench.verify else 0
        self._blocks = set(generator.sample(range(bench.budget.blocks), count))
        self._skip = generator.randrange(4)
        self.done = 0

    def after(self, side: _LiveSide, block: int) -> None:
        """Called after each sample. Raises TimedOutputWrong."""
        if side.name != SOLUTION or block not in self._blocks:
            return
        if self._skip > 0:
            self._skip -= 1
            return
        self._blocks.discard(block)
        self._skip = random.SystemRandom().randrange(4)
        verdict = self._check(side)
        self.done += 1
        if verdict is not None:
            raise TimedOutputWrong(verdict)

    def _check(self, side: _LiveSide) -> Verdict | None:
        question = self._bench.question
        if not question.expected.eager_aliases:
            self._bench.desk.spoil_inputs()
        answer = self._bench.desk.fetch(side.link)
        case = Case(name="timed_call", seed=question.case.seed, inputs=self._feed.current, state=question.case.state)
        ran = run_in_fp64(self._bench.reference, case)
        expected = Expected(
            structure=question.expected.structure,
            oracle=ran.outputs,
            eager=tuple(t.to(e.dtype) for t, e in zip(ran.outputs, question.expected.eager, strict=True)),
            budgets=question.expected.budgets,
            oracle_state={}, eager_state={}, state_budgets={}, eager_mutates=question.expected.eager_mutates,
            eager_aliases=question.expected.eager_aliases,
        )  # fmt: skip
        verdict = check_answer(answer, Question(case=case, expected=expected))
        if verdict is None:
            return None
        return Verdict(
            status=Status.INCORRECT,
            reason="timed_output",
            message=f"the output of a timed call is wrong: {verdict.message}",
            evidence=verdict.evidence,
        )
