"""The quick look at an answer agrees with the judge's own criteria."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from judge.judge_factory import functional, reference_of

from kbench.judge.cases import make_case
from kbench.judge.oracle import Expected, expect
from kbench.judge.tolerance import compare
from kbench.lint.acceptance import Answer, accepted, distance

LARGE = functional("torch.tanh(x)", "torch.randn(512, 512)")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    reference = reference_of(tmp_path_factory.mktemp("problem"), LARGE)
    return expect(reference, make_case(reference, "as_given", 3))


def test_eager_is_accepted_at_no_more_than_its_own_distance(expected: Expected) -> None:
    answer = Answer(outputs={0: expected.eager[0]})
    assert accepted(answer, expected)
    assert distance(answer, expected) <= 1
    assert distance(Answer(outputs={0: expected.oracle[0]}), expected) == 0


@pytest.mark.parametrize("place", [0, 1, 4, 100_000])
def test_what_is_far_off_anywhere_is_refused_as_the_judge_does(expected: Expected, place: int) -> None:
    """Place 4 is looked at first, place 1 is not."""
    budget, wrong = expected.budgets[0], expected.oracle[0].clone()
    wrong.view(-1)[place] += 51 * budget.limit * (budget.scale + 1)
    assert compare(wrong, expected.oracle[0], expected.eager[0], budget) is not None
    assert not accepted(Answer(outputs={0: wrong}), expected)


def test_an_error_on_the_whole_is_refused_though_no_element_is_far_off(expected: Expected) -> None:
    budget = expected.budgets[0]
    assert not accepted(Answer(outputs={0: expected.oracle[0] + budget.limit * budget.scale}), expected)


def test_another_shape_is_refused(expected: Expected) -> None:
    answer = Answer(outputs={0: expected.oracle[0][:5]})
    assert not accepted(answer, expected)
    assert distance(answer, expected) == float("inf")


def test_a_buffer_that_was_not_updated_is_refused(tmp_path: Path) -> None:
    source = (
        "class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.norm = nn.BatchNorm1d(4)\n    def forward(self, x):\n        return self.norm(x)\n"
        "def get_inputs():\n    return [torch.rand(64, 4)]\ndef get_init_inputs():\n    return []\n"
    )
    reference = reference_of(tmp_path, source)
    case = make_case(reference, "as_given", 3)
    due = expect(reference, case)
    assert accepted(Answer(outputs={0: due.eager[0]}, state=due.eager_state), due)
    assert not accepted(Answer(outputs={0: due.eager[0]}, state=case.state), due)


def test_nan_is_no_answer_but_need_not_be_passed_on(expected: Expected, tmp_path: Path) -> None:
    wrong = expected.oracle[0].clone()
    wrong[0, 0] = torch.nan
    assert not accepted(Answer(outputs={0: wrong}), expected)
    reference = reference_of(tmp_path, functional("torch.log(x - 0.1)", "torch.rand(64, 64)"))
    due = expect(reference, make_case(reference, "as_given", 3))
    assert bool(due.oracle[0].isnan().any())
    assert accepted(Answer(outputs={0: due.oracle[0].nan_to_num(0.0)}), due)
