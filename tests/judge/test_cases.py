"""Inputs and parameters a solution is judged on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from judge.judge_factory import CONV_BN, functional, layered, reference_of
from kbench.judge.cases import CASE_NAMES, Case, SeedSource, make_case, randomise_state


def same(a: Case, b: Case) -> bool:
    pairs = [
        *zip(a.inputs.tensors, b.inputs.tensors, strict=True),
        *zip(a.state.values(), b.state.values(), strict=True),
    ]
    return all(torch.equal(x, y) for x, y in pairs)


def test_seeds_follow_from_a_master_and_are_secret_without_one() -> None:
    one, two = SeedSource(7), SeedSource(7)
    assert [one.next() for _ in range(5)] == [two.next() for _ in range(5)]
    assert SeedSource(None).next() != SeedSource(None).next()
    assert all(0 <= SeedSource(None).next() < 2**48 for _ in range(50))


@pytest.mark.parametrize("name", CASE_NAMES)
def test_a_case_follows_from_its_seed_whatever_was_drawn_before(tmp_path: Path, name: str) -> None:
    reference = reference_of(tmp_path, CONV_BN)
    first = make_case(reference, name, 11)
    torch.rand(5)
    assert same(first, make_case(reference, name, 11))
    assert not same(first, make_case(reference, name, 12))


def test_as_given_is_what_the_problem_gives(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, CONV_BN)
    case = make_case(reference, "as_given", 11)
    assert torch.equal(case.inputs.tensors[0], reference.draw(11).tensors[0])
    fresh = reference.model().state_dict()
    assert list(case.state) == list(fresh)
    assert all(torch.equal(case.state[name], tensor) for name, tensor in fresh.items())


def test_the_further_cases_shift_and_scale_floats_and_leave_integers(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, functional("x", "torch.rand(9, 9), torch.arange(5), torch.tensor(2.0)"))
    plain = make_case(reference, "as_given", 3).inputs.tensors
    recentred = make_case(reference, "recentred", 3).inputs.tensors
    scaled = make_case(reference, "scaled", 3).inputs.tensors
    assert abs(float(recentred[0].mean())) < 1e-6 and float(recentred[0].min()) < -0.1
    assert torch.equal(scaled[0], plain[0] * 3)
    for case in (recentred, scaled):
        assert torch.equal(case[1], plain[1])
    assert float(recentred[2]) == 2.0  # a single number would become nothing


def test_every_floating_parameter_and_buffer_moves_and_variances_stay_positive() -> None:
    before = {
        "weight": torch.ones(64), "bias": torch.zeros(64), "conv": torch.randn(8, 8) * 0.01, "one": torch.tensor(1.0),
        "bn.running_mean": torch.zeros(64), "bn.running_var": torch.ones(64), "count": torch.tensor(3),
        "flags": torch.tensor([True]), "empty": torch.zeros(0), "half": torch.ones(8, dtype=torch.float16),
    }  # fmt: skip
    after = randomise_state(before, 5)
    for name in ("weight", "bias", "conv", "one", "bn.running_mean", "bn.running_var", "half"):
        assert not torch.equal(after[name], before[name])
        assert after[name].dtype is before[name].dtype and bool(after[name].isfinite().all())
    for name in ("count", "flags", "empty"):
        assert torch.equal(after[name], before[name])
    assert bool((after["bn.running_var"] > 0).all())
    assert float(after["weight"].std()) > 0.3
    assert 0.003 < float((after["conv"] - before["conv"]).std()) < 0.01  # half its own spread


def test_randomising_does_not_touch_what_it_was_given() -> None:
    state = {"weight": torch.ones(4), "count": torch.tensor(1)}
    after = randomise_state(state, 1)
    after["count"].fill_(9)
    assert torch.equal(state["weight"], torch.ones(4)) and int(state["count"]) == 1


def test_all_but_the_first_case_have_other_parameters_than_the_file(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, layered("self.n = nn.LayerNorm(8)", "self.n(x)", "torch.rand(4, 8)"))
    for name in CASE_NAMES[1:]:
        assert not torch.equal(make_case(reference, name, 3).state["n.weight"], torch.ones(8))
