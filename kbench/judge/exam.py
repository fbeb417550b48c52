"""The questions of a problem, which all its solutions are asked: made when first wanted, kept while they are small."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from kbench.judge.cases import SeedSource
from kbench.judge.judging import Question, ask_first, further_questions
from kbench.judge.oracle import run_reference, same_bytes
from kbench.judge.reference import Reference
from kbench.model import Problem

_SHARE_OF_DEVICE = 1 / 32
_HOST_BYTES = 1 << 29


@dataclass
class Exam:
    """One problem's reference and questions. Their answers never leave this process, so solutions may share them.

    Those beyond `room_bytes` are made anew, under new seeds, for each solution.
    """

    reference: Reference
    seeds: SeedSource
    room_bytes: int
    left_out: list[str] = field(default_factory=list)
    """The cases that the reference cannot do (`further_questions`), as far as anybody was asked."""
    floor_ms: float | None = None
    """What no solution can be faster than on this device, once somebody has measured that."""
    _kept: list[Question] = field(default_factory=list)
    _whole: bool = False
    _history: dict[str, bool] = field(default_factory=dict)

    def first(self) -> Question:
        """The question that fixes the form of everything. Raises ProblemError."""
        if not self._kept:
            self._kept.append(ask_first(self.reference, self.seeds))
        return self._kept[0]

    def questions(self) -> Iterator[Question]:
        """All of them, each made when it is asked for. Raises ProblemError."""
        self.first()
        yield from tuple(self._kept)
        if self._whole:
            return
        room = self.room_bytes - sum(map(_bytes, self._kept))
        keeping = True
        for question in further_questions(self.reference, self.seeds, self.left_out, after=self._kept[-1].case.name):
            room -= _bytes(question)
            keeping = keeping and room >= 0
            if keeping:
                self._kept.append(question)
            yield question
        self._whole = keeping

    def depends_on_history(self, question: Question) -> bool:
        """Whether the reference's output changes with the buffers that its own forward updates."""
        name = question.case.name
        if name not in self._history:
            self._history[name] = _depends_on_history(self.reference, question)
        return self._history[name]


class Exams:
    """Holds the exam of the problem that was asked last: a run's pairs come problem by problem."""

    def __init__(self, seeds: SeedSource) -> None:
        self._seeds = seeds
        self._of: tuple[str, str] | None = None
        self._exam: Exam | None = None

    def exam(self, problem: Problem, *, size: str, device: torch.device) -> Exam:
        """That of `problem` at `size`. Raises ProblemError."""
        if self._exam is None or self._of != (problem.id, size):
            self.forget()
            reference = Reference(problem, size=size, device=device)
            self._exam = Exam(reference=reference, seeds=self._seeds, room_bytes=room_on(device))
            self._of = (problem.id, size)
        return self._exam

    def forget(self) -> None:
        """Let go of all that is kept, where memory is short or nobody knows what it holds."""
        self._exam = None


def room_on(device: torch.device) -> int:
    """How many bytes of questions to keep on a device: a small share, since its memory is for the solutions."""
    if device.type != "cuda":
        return _HOST_BYTES
    return int(torch.cuda.get_device_properties(device).total_memory * _SHARE_OF_DEVICE)


def _bytes(question: Question) -> int:
    expected = question.expected
    tensors = [*question.case.inputs.tensors, *expected.oracle, *expected.eager]
    for state in (question.case.state, expected.oracle_state, expected.eager_state):
        tensors += state.values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _depends_on_history(reference: Reference, question: Question) -> bool:
    before, after = question.case.state, question.expected.eager_state
    if all(same_bytes(tensor, after[name]) for name, tensor in before.items()):
        return False
    later = dataclasses.replace(question.case, state=after)
    again = run_reference(reference, later, inputs=[tensor.clone() for tensor in later.inputs.tensors])
    pairs = zip(again.outputs, question.expected.eager, strict=True)
    return not all(torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-6, equal_nan=True) for a, b in pairs)
