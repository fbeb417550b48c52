"""Which questions the solutions of a problem share."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from judge.judge_factory import CONV_BN, functional, reference_of
from kbench.judge import exam as exam_module
from kbench.judge.cases import CASE_NAMES, SeedSource
from kbench.judge.exam import Exam, Exams
from kbench.judge.judging import Question

PLUS = functional("x + 1", "torch.rand(8, 64)")
LOG = functional("x.log().sum()", "torch.rand(8, 64) + 0.01")


def exam_of(path: Path, source: str, *, room_bytes: int = 1 << 30) -> Exam:
    return Exam(reference=reference_of(path, source), seeds=SeedSource(0), room_bytes=room_bytes)


def names(questions: list[Question]) -> list[str]:
    return [question.case.name for question in questions]


def test_the_next_solution_is_asked_the_very_same(tmp_path: Path) -> None:
    exam = exam_of(tmp_path, PLUS)
    first, second = list(exam.questions()), list(exam.questions())
    assert names(first) == list(CASE_NAMES)
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert first[0] is exam.first()


def test_what_nobody_came_to_is_made_when_somebody_does(tmp_path: Path) -> None:
    exam = exam_of(tmp_path, PLUS)
    some = list(itertools.islice(exam.questions(), 3))
    whole = list(exam.questions())
    assert names(whole) == list(CASE_NAMES)
    assert all(a is b for a, b in zip(some, whole, strict=False))


def test_large_questions_are_made_anew_under_new_seeds(tmp_path: Path) -> None:
    exam = exam_of(tmp_path, PLUS, room_bytes=1)
    first, second = list(exam.questions()), list(exam.questions())
    assert names(first) == names(second) == list(CASE_NAMES)
    assert first[0] is second[0], "that one fixes the form"
    assert all(a.case.seed != b.case.seed for a, b in zip(first[1:], second[1:], strict=True))


@pytest.mark.parametrize("room_bytes", [1, 1 << 30])
def test_cases_that_are_not_possible_are_said_once(tmp_path: Path, room_bytes: int) -> None:
    exam = exam_of(tmp_path, LOG, room_bytes=room_bytes)
    asked = [names(list(exam.questions())) for _ in range(3)]
    assert asked[0] == asked[1] == asked[2]
    assert len(exam.left_out) == len(CASE_NAMES) - len(asked[0]) > 0


def test_history_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exam = exam_of(tmp_path, CONV_BN)
    answers = iter([True])
    monkeypatch.setattr(exam_module, "_depends_on_history", lambda *_: next(answers))
    assert exam.depends_on_history(exam.first())
    assert exam.depends_on_history(exam.first())


def test_one_problem_is_held_at_a_time(tmp_path: Path) -> None:
    first = reference_of(tmp_path, PLUS).problem
    exams, device = Exams(SeedSource(0)), torch.device("cpu")
    held = exams.exam(first, size="full", device=device)
    assert exams.exam(first, size="full", device=device) is held
    other = exams.exam(dataclasses.replace(first, id="other"), size="full", device=device)
    assert other is not held and other.reference.problem.id == "other"
    held = exams.exam(first, size="full", device=device)
    exams.forget()
    assert exams.exam(first, size="full", device=device) is not held
