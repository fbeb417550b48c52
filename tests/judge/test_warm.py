"""What is done before judging, as far as it can be seen without a device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from judge.judge_factory import functional, reference_of
from kbench.errors import ProblemError
from kbench.judge.warm import ask_for_nothing, warm_up


def test_a_question_runs_the_reference(tmp_path: Path) -> None:
    marked = functional(f"[x * 2, __import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()][0]", "torch.randn(4)")
    ask_for_nothing(reference_of(tmp_path, marked))
    assert (tmp_path / "ran").exists()


def test_a_question_that_cannot_be_asked_says_so_and_warming_up_does_not(tmp_path: Path) -> None:
    failing = reference_of(tmp_path, functional("x @ x", "torch.randn(4, 5)"))
    with pytest.raises(ProblemError):
        ask_for_nothing(failing)
    warm_up(failing.problem, size="full", device=torch.device("cpu"))
