"""A problem's module in the judge's hands."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import pytest
import torch

from judge.judge_factory import functional, layered, reference_of
from kbench.errors import ProblemError
from kbench.model import Precision

PARTS = "class Model(nn.Module): pass\ndef get_inputs(): return []\ndef get_init_inputs(): return []\n"
LINEAR = layered("self.l = nn.Linear(3, 2)", "self.l(x)", "torch.rand(2, 3), torch.arange(3)")


@pytest.mark.parametrize("missing", ["Model", "get_inputs", "get_init_inputs"])
def test_a_file_without_one_of_its_parts_is_no_problem(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ProblemError, match=f"defines no {missing}\n"):
        reference_of(tmp_path, PARTS.replace(f" {missing}", " other"))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def", "does not run"),
        ("1 / 0", "does not run"),
        (PARTS.replace("return []", "return 3", 2), "get_init_inputs"),
        (PARTS.replace("get_init_inputs(): return []", "get_init_inputs(): raise KeyError"), "get_init_inputs"),
    ],
)
def test_a_file_that_fails_is_blamed_with_its_path_and_its_error(tmp_path: Path, source: str, says: str) -> None:
    with pytest.raises(ProblemError, match=says) as error:
        reference_of(tmp_path, source)
    assert error.value.where == str(tmp_path / "p.py")
    assert error.value.why and error.value.hint


def test_inputs_and_models_that_fail_are_blamed_as_well(tmp_path: Path) -> None:
    reference = reference_of(
        tmp_path, "class Model:\n    pass\ndef get_inputs(): return 3\ndef get_init_inputs(): return []\n"
    )
    with pytest.raises(ProblemError, match="get_inputs"):
        reference.draw(1)
    with pytest.raises(ProblemError, match="no torch.nn.Module"):
        reference.model()


def test_a_size_overrides_constants(tmp_path: Path) -> None:
    source = "n = 128\n" + functional("x", "torch.rand(n, 2)")
    reference = reference_of(tmp_path, source, sizes={"full": {"n": 3}})
    assert reference.draw(0).tensors[0].shape == (3, 2)


def test_inputs_follow_from_the_seed_by_every_usual_generator(tmp_path: Path) -> None:
    source = "import random, numpy\n" + functional(
        "x", "torch.rand(3), torch.from_numpy(numpy.random.rand(3)), torch.tensor(random.random())"
    )
    reference = reference_of(tmp_path, source)
    one = reference.draw(2**47 + 5)
    torch.rand(1), numpy.random.rand(1), random.random()  # noqa: B018
    again, other = reference.draw(2**47 + 5), reference.draw(2**47 + 6)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors, again.tensors, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one.tensors, other.tensors, strict=True))


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (Precision.FP32, torch.float32),
        (Precision.TF32, torch.float32),
        (Precision.FP16, torch.float16),
        (Precision.BF16, torch.bfloat16),
    ],
)
def test_floats_are_cast_to_the_declared_class_and_integers_are_not(
    tmp_path: Path, precision: Precision, dtype: torch.dtype
) -> None:
    reference = reference_of(tmp_path, LINEAR, precision=precision)
    assert [tensor.dtype for tensor in reference.draw(0).tensors] == [dtype, torch.int64]
    assert {tensor.dtype for tensor in reference.model().state_dict().values()} == {dtype}


@pytest.mark.parametrize(("mode", "training"), [("train", True), ("eval", False), (None, True)])
def test_the_mode_is_the_problems(tmp_path: Path, mode: str | None, training: bool) -> None:
    assert reference_of(tmp_path, LINEAR, mode=mode).model().training is training


def test_models_are_fresh_and_alike(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, LINEAR)
    one, two = reference.model(), reference.model()
    assert one is not two
    assert torch.equal(one.state_dict()["l.weight"], two.state_dict()["l.weight"])


def test_inputs_that_require_gradients_are_cut_off(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("x", "torch.rand(3, requires_grad=True) * 2"))
    assert not reference.draw(0).tensors[0].requires_grad
