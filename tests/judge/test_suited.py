"""Which cases a reference has one right answer to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from judge.judge_factory import functional, reference_of
from kbench.judge.cases import SeedSource
from kbench.judge.judging import further_questions
from kbench.judge.suited import objection

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("forward", "flagged"),
    [
        ("x.topk(3).values", True),
        ("x.sort(1).indices", True),
        ("x.median(1).values", True),
        ("x.max(1).indices", False),
        ("x.argmin(1)", False),
    ],
)
def test_no_ties_where_the_reference_may_pick_any_of_them(tmp_path: Path, forward: str, flagged: bool) -> None:
    flags: list[str] = []
    reference = reference_of(tmp_path, functional(forward, "torch.randn(8, 64)"))
    asked = {question.case.name for question in further_questions(reference, SeedSource(0), flags)}
    assert ("case_not_possible:ties" in flags) is flagged
    assert ("ties" in asked) is not flagged


def test_operators_are_watched_once_and_inputs_stay(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("x.relu_().topk(2).values", "torch.randn(8, 64)"))
    names = reference.operators()
    assert {"relu_", "topk"} <= names and reference.operators() is names


@pytest.mark.parametrize("name", ["recentred", "scaled_up", "nonfinite"])
def test_a_device_is_not_led_into_an_assertion(name: str) -> None:
    names = frozenset({"binary_cross_entropy", "sigmoid"})
    assert objection(name, names, CUDA) is not None
    assert objection(name, names, CPU) is None  # raises there, and harms nothing
    assert objection("randomised_parameters", names, CUDA) is None
