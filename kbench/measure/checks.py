"""Verify timed calls: which ones is decided at random, by the judge alone, after the worker has answered."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Protocol

from kbench.judge.cases import SeedSource
from kbench.judge.clock import Sampled
from kbench.judge.desk import Refusal
from kbench.judge.judging import Question, ask, check_answer, check_memory, following, inspect
from kbench.judge.reference import Drawn, Reference
from kbench.judge.stream import Stream
from kbench.model import Status, Verdict
from kbench.remote.link import WorkerLink

_LEAST_CALLS = 5
_LEAST_SHARE = 0.05


class TimedOutputWrong(Exception):
    """A timed call's output was not right; `verdict` says how."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class Checked(Protocol):
    """What of a side is looked at."""

    link: WorkerLink
    drawn: list[Drawn]
    seeds: list[int]
    last: Sampled | None

    def set_state(self) -> None:
        """Take over what lies on the desk."""
        ...


class Checks:
    """One replicate's. Besides the samples to verify, one moment at which the parameters change for all sides."""

    def __init__(
        self,
        reference: Reference,
        stream: Stream,
        seeds: SeedSource,
        question: Question,
        *,
        samples: int,
        calls: int,
        sides: Sequence[Checked],
        history: bool,
    ) -> None:
        """`samples` of the solution will come, each of `calls` calls; `sides` are all that are timed.

        `history`: an output depends on the calls before it, so the oracle has to follow all of them.
        """
        self._reference = reference
        self._stream = stream
        self._seeds = seeds
        self._sides = sides
        self._history = history
        self.question = question
        """Whose state the workers hold now."""
        self.done = 0
        chance = random.SystemRandom()
        looked_at = min(samples, max(_LEAST_CALLS, math.ceil(_LEAST_SHARE * samples)))
        self._verified = set(chance.sample(range(samples), looked_at))
        self._calls_each = min(calls, math.ceil(max(_LEAST_CALLS, _LEAST_SHARE * samples * calls) / looked_at))
        self._changes_after = chance.randrange(samples)

    def after(self, side: Checked, number: int) -> None:
        """Called after each sample of the solution. Raises TimedOutputWrong, WorkerFailed."""
        if number in self._verified or number == self._changes_after:
            side.link.freeze()  # its spinning threads would be in the way of the oracle
        if number in self._verified and (wrong := self._verify(side)) is not None:
            raise TimedOutputWrong(_as_timed(wrong))
        if number == self._changes_after:
            self._change_state(side)

    def _verify(self, side: Checked) -> Verdict | None:
        """Some calls of the last sample, chosen by chance, against the oracle."""
        assert side.last is not None
        outputs = self._stream.outputs(side.last)
        if isinstance(outputs, Refusal):
            return check_answer(outputs, self.question)
        chosen = set(random.SystemRandom().sample(range(len(outputs)), min(self._calls_each, len(outputs))))
        before = _not_yet_called(self.question)
        for number, (answer, drawn, seed) in enumerate(zip(outputs, side.drawn, side.seeds, strict=True)):
            if number not in chosen and not self._history:
                continue
            question = following(self._reference, before, drawn, seed)
            if self._history:
                before = question
            if number not in chosen:
                continue
            if (verdict := check_answer(answer, question)) is not None:
                return verdict
            self.done += 1
        return check_memory(self._stream.desk, side.drawn, self.question)

    def _change_state(self, side: Checked) -> None:
        """New parameters, as in training, for every side; the solution is asked about them in full."""
        self.question = ask(self._reference, self.question.case.name, self._seeds)
        if (wrong := inspect(side.link, self._stream, self.question)) is not None:
            raise TimedOutputWrong(_as_timed(wrong))
        self._stream.desk.put_state(self.question.case.state)
        for other in self._sides:
            other.set_state()


def _not_yet_called(question: Question) -> Question:
    """The question as it stands before its own call: what follows finds the state that was set."""
    expected = dataclasses.replace(question.expected, eager_state=question.case.state)
    return dataclasses.replace(question, expected=expected)


def _as_timed(wrong: Verdict) -> Verdict:
    return Verdict(
        status=Status.INCORRECT,
        reason="timed_output",
        message=f"the output of a timed call is wrong: {wrong.message}",
        evidence=wrong.evidence,
    )
