"""The reference in fp64, and the errors that bracket the tolerance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from judge.judge_factory import CONV_BN, LINEAR, functional, reference_of
from kbench.errors import ProblemError
from kbench.judge.cases import make_case
from kbench.judge.oracle import expect, round_mantissa, run_in_fp64, same_bytes
from kbench.model import Precision

NAN = float("nan")


def test_the_oracle_is_fp64_on_the_same_inputs_and_parameters(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, LINEAR)
    case = make_case(reference, "randomised_parameters", 5)
    expected = expect(reference, case)
    by_hand = case.inputs.tensors[0].double() @ case.state["l.weight"].double().t() + case.state["l.bias"].double()
    assert expected.oracle[0].dtype is torch.float64
    assert torch.allclose(expected.oracle[0], by_hand, rtol=1e-13, atol=1e-13)
    assert expected.eager[0].dtype is torch.float32
    assert (expected.structure, expected.state_budgets, expected.eager_mutates) == ("T", {}, False)


def test_one_precision_lower_is_far_from_eager(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, LINEAR)
    expected = expect(reference, make_case(reference, "as_given", 5))
    (budget,) = expected.budgets
    assert expected.decidable
    assert budget.e_hi < 1e-6 and 1e-4 < budget.e_lo < 1e-2


@pytest.mark.parametrize("precision", list(Precision))
def test_every_class_has_a_class_below_it(tmp_path: Path, precision: Precision) -> None:
    reference = reference_of(tmp_path, LINEAR, precision=precision)
    expected = expect(reference, make_case(reference, "as_given", 5))
    assert expected.decidable
    assert expected.oracle[0].dtype is torch.float64


def test_what_the_case_holds_is_left_as_it_was(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, CONV_BN)
    case = make_case(reference, "as_given", 5)
    before = [tensor.clone() for tensor in (*case.inputs.tensors, *case.state.values())]
    expect(reference, case)
    after = (*case.inputs.tensors, *case.state.values())
    assert all(same_bytes(a, b) for a, b in zip(before, after, strict=True))


def test_buffers_that_forward_changes_have_budgets_and_nothing_else_has(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, CONV_BN)
    case = make_case(reference, "as_given", 5)
    expected = expect(reference, case)
    assert set(expected.state_budgets) == {"bn.running_mean", "bn.running_var"}
    assert int(expected.eager_state["bn.num_batches_tracked"]) == 1
    assert same_bytes(expected.eager_state["conv.weight"], case.state["conv.weight"])


def test_in_eval_mode_no_buffer_changes(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, CONV_BN, mode="eval")
    assert expect(reference, make_case(reference, "as_given", 5)).state_budgets == {}


def test_a_reference_that_writes_into_its_inputs_is_known(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("x.mul_(2)", "torch.rand(4)"))
    assert expect(reference, make_case(reference, "as_given", 5)).eager_mutates


def test_the_default_dtype_is_put_back_even_after_a_failure(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("1 / 0", "torch.rand(4)"))
    with pytest.raises(ProblemError, match="its forward failed on case 'as_given'"):
        run_in_fp64(reference, make_case(reference, "as_given", 5))
    assert torch.get_default_dtype() is torch.float32


def test_tensors_made_in_forward_are_fp64_in_the_oracle(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("x * torch.full((4,), 0.1)", "torch.ones(4)"))
    ran = run_in_fp64(reference, make_case(reference, "as_given", 5))
    assert torch.equal(ran.outputs[0], torch.full((4,), 0.1, dtype=torch.float64))


def test_an_answer_of_another_structure_in_fp64_is_the_problems_fault(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("x if x.dtype == torch.float32 else (x,)", "torch.rand(4)"))
    with pytest.raises(ProblemError, match="another structure"):
        expect(reference, make_case(reference, "as_given", 5))


def test_a_complex_answer_has_an_oracle_better_than_itself(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("x * more[0]", "torch.rand(64), torch.rand(64) * 1j"))
    expected = expect(reference, make_case(reference, "as_given", 5))
    assert expected.oracle[0].dtype is torch.complex128
    assert 0 < expected.budgets[0].limit < 1e-4


# --- rounding ---


@given(value=st.floats(-1e300, 1e300, allow_subnormal=False), bits=st.sampled_from([3, 7, 10, 23]))
@settings(deadline=None)
def test_rounding_keeps_as_many_bits_and_is_the_nearest(value: float, bits: int) -> None:
    rounded = float(round_mantissa(torch.tensor(value, dtype=torch.float64), bits))
    assert abs(rounded - value) <= 2.0 ** -(bits + 1) * abs(value)
    again = float(round_mantissa(torch.tensor(rounded, dtype=torch.float64), bits))
    assert again == rounded


@given(value=st.floats(width=32, min_value=-(2.0**100), max_value=2.0**100, allow_subnormal=False))
@settings(deadline=None)
def test_seven_bits_are_bfloat16(value: float) -> None:
    expected = torch.tensor(value).bfloat16().double()
    assert torch.equal(round_mantissa(torch.tensor(value, dtype=torch.float64), 7), expected)


@pytest.mark.parametrize(("value", "rounded"), [(1 + 2**-11, 1.0), (1 + 3 * 2**-11, 1 + 2**-9), (-1 - 2**-11, -1.0)])
def test_ties_go_to_even(value: float, rounded: float) -> None:
    assert float(round_mantissa(torch.tensor(value, dtype=torch.float64), 10)) == rounded


def test_what_is_not_finite_stays_and_integers_do() -> None:
    values = torch.tensor([NAN, float("inf"), -float("inf"), 0.0])
    assert same_bytes(round_mantissa(values, 3), values)
    whole = torch.arange(1000)
    assert round_mantissa(whole, 3) is whole


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (torch.tensor([NAN]), torch.tensor([NAN]), True),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.zeros(2), torch.zeros(2, 1), False),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32), False),
        (torch.arange(6).view(2, 3).t(), torch.arange(6).view(2, 3).t().contiguous(), True),
        (torch.tensor(1.0), torch.tensor(1.0), True),
        (torch.zeros(0, 3), torch.zeros(0, 3), True),
        (torch.tensor([True]), torch.tensor([False]), False),
    ],
)
def test_sameness_is_of_bytes(a: torch.Tensor, b: torch.Tensor, same: bool) -> None:
    assert same_bytes(a, b) is same
