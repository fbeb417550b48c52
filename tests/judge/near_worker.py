"""A worker in the test's own process: the real session over the real desk, without a socket in between."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from torch import nn

from judge.judge_factory import reference_of
from kbench.judge.cases import SeedSource
from kbench.judge.desk import Desk
from kbench.judge.judging import Question, ask_first, further_questions, judge
from kbench.judge.reference import Reference
from kbench.judge.stream import Stream
from kbench.model import Verdict
from kbench.protocol import Answer
from kbench.remote.link import Deadlines, WorkerLink
from kbench.worker.session import Session


class NearWorker:
    """Speaks as a `WorkerLink` does. `after` may do something when the answer has been given."""

    def __init__(self, desk: Desk, module: Callable[..., nn.Module]) -> None:
        self.session = Session.construct(module, desk.setup(mode=None), desk.descriptors)
        self.deadlines = Deadlines(load_s=5.0, call_s=5.0)
        self.samples = 0
        self.change: Callable[[Answer], Answer] = lambda answer: answer
        self._answer: Answer | None = None

    def prepare(self, *, calls: int) -> None:
        self.session.prepare(calls)

    def begin_sample(self, *, calls: int, gate: int) -> None:
        self.samples += 1
        self._answer = self.session.sample(calls, gate)

    def end_sample(self, **_: Any) -> Answer:
        assert self._answer is not None
        return self.change(self._answer)

    def freeze(self) -> None:
        """There is no process to stop."""

    def set_state(self) -> None:
        self.session.set_state()

    def get_state(self) -> None:
        self.session.get_state()

    @property
    def link(self) -> WorkerLink:
        return cast(WorkerLink, self)


class Court:
    """A problem, its desk and its first question."""

    def __init__(self, reference: Reference, desk: Desk, first: Question, seeds: SeedSource) -> None:
        self.reference, self.desk, self.first, self.seeds = reference, desk, first, seeds
        self.stream = Stream(desk, reference.device)

    def hire(self, module: Callable[..., nn.Module]) -> NearWorker:
        return NearWorker(self.desk, module)

    def questions(self) -> list[Question]:
        return [self.first, *further_questions(self.reference, self.seeds, [])]

    def judge(self, module: Callable[..., nn.Module]) -> Verdict:
        return judge(self.hire(module).link, self.stream, self.reference, self.questions(), self.seeds)


@contextlib.contextmanager
def court(path: Path, source: str, **fields: Any) -> Iterator[Court]:
    reference, seeds = reference_of(path, source, **fields), SeedSource(0)
    first = ask_first(reference, seeds)
    with Desk(reference, first.case, first.expected) as desk:
        yield Court(reference, desk, first, seeds)
