"""Inputs and parameters a solution is judged on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from judge.judge_factory import CONV_BN, functional, layered, reference_of
from kbench.judge.cases import CASE_NAMES, Case, SeedSource, integer_state, make_case, randomise_state
from kbench.judge.oracle import same_bytes


def same(a: Case, b: Case) -> bool:
    pairs = [
        *zip(a.inputs.tensors, b.inputs.tensors, strict=True),
        *zip(a.state.values(), b.state.values(), strict=True),
    ]
    return all(same_bytes(x, y) for x, y in pairs)


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


MIXED = functional(
    "x",
    "torch.rand(9, 64), torch.arange(5), torch.tensor(2.0), torch.rand(9) > 0.5, (torch.rand(9, 9) > 0.5).float(), "
    "torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu() == 1, float('-inf'))",
)


@pytest.mark.parametrize("name", CASE_NAMES[1:])
def test_only_floats_that_are_no_masks_change_and_keep_their_form(tmp_path: Path, name: str) -> None:
    reference = reference_of(tmp_path, MIXED)
    plain = make_case(reference, "as_given", 3).inputs.tensors
    made = make_case(reference, name, 3).inputs.tensors
    assert torch.equal(made[0], plain[0]) is (name == "randomised_parameters")
    for before, after in zip(plain, made, strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
    for number in (1, 3, 4, 5):
        assert torch.equal(plain[number], made[number])
    if name != "integers":
        assert float(made[2]) == 2.0  # a single number is likely no sample of anything


def inputs_of(tmp_path: Path, name: str, inputs: str) -> torch.Tensor:
    return make_case(reference_of(tmp_path, functional("x", inputs)), name, 3).inputs.tensors[0]


def test_recentred_inputs_have_no_mean_even_beside_infinities(tmp_path: Path) -> None:
    assert abs(float(inputs_of(tmp_path, "recentred", "torch.rand(9, 9)").mean())) < 1e-6
    kept = inputs_of(tmp_path, "recentred", "torch.cat([torch.rand(8, 8), torch.full((1, 8), float('-inf'))])")
    assert bool(kept[8].isneginf().all()) and abs(float(kept[:8].mean())) < 1e-6


@pytest.mark.parametrize("inputs", ["torch.rand(64, 64)", "torch.randn(64, 64)", "1e-6 * torch.randn(64, 64)"])
def test_scaled_inputs_overflow_an_exponential_or_come_near_eps_and_lose_no_bit(tmp_path: Path, inputs: str) -> None:
    plain = inputs_of(tmp_path, "as_given", inputs)
    for name, least, most in (("scaled_up", 128, 256), ("scaled_down", 0, 2**-4)):
        made = inputs_of(tmp_path, name, inputs)
        assert least <= float(made.abs().max()) <= most
        factor = float(made[0, 0] / plain[0, 0])
        assert torch.equal(made, plain * factor) and math.log2(factor).is_integer()


def test_what_is_large_already_grows_and_what_is_small_shrinks(tmp_path: Path) -> None:
    assert float(inputs_of(tmp_path, "scaled_up", "1e4 * torch.rand(64, 64)").max()) > 3e4
    assert float(inputs_of(tmp_path, "scaled_down", "1e-4 * torch.rand(64, 64)").max()) < 3e-5


def test_heavy_tails_are_heavy_and_every_other_sample_is_negative(tmp_path: Path) -> None:
    made = inputs_of(tmp_path, "heavy_tailed", "torch.rand(64, 64)")
    assert float(made.abs().max()) > 20 * float(made.abs().median())
    assert bool((made[1::2] <= 0).all()) and bool((made[::2] >= 0).all())


def test_ties_are_at_both_ends_beside_exact_zeros(tmp_path: Path) -> None:
    made = inputs_of(tmp_path, "ties", "torch.randn(64, 64)")
    for value in (made.min(), made.max(), torch.tensor(0.0)):
        assert int((made == value).sum()) > 100


@pytest.mark.parametrize(
    ("inputs", "poisoned"),
    [("torch.rand(64, 4, 8, 8)", 2), ("torch.rand(2, 16)", 1), ("torch.rand(64)", 3), ("torch.rand(15)", 0)],
)
def test_a_few_values_of_one_or_two_samples_are_not_finite(tmp_path: Path, inputs: str, poisoned: int) -> None:
    strange = ~inputs_of(tmp_path, "nonfinite", inputs).isfinite()
    assert int((strange.flatten(1).any(1) if strange.dim() > 1 else strange).sum()) == poisoned
    assert 0 <= int(strange.sum()) <= 4


@pytest.mark.parametrize(("dtype", "values"), [("float", {-2, -1, 1, 2}), ("bfloat16", {-1, 1})])
def test_integers_are_small_and_never_zero(tmp_path: Path, dtype: str, values: set[int]) -> None:
    assert set(inputs_of(tmp_path, "integers", f"torch.rand(64, 64).{dtype}()").flatten().tolist()) == values


def test_whole_parameters_keep_variances_positive() -> None:
    state = {"w": torch.rand(64), "bn.running_var": torch.ones(64), "count": torch.tensor(7)}
    made = integer_state(state, 5)
    assert set(made["w"].tolist()) == {-2, -1, 1, 2} and set(made["bn.running_var"].tolist()) == {1, 2}
    assert int(made["count"]) == 7


def test_inputs_and_state_follow_each_from_a_seed_of_its_own(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, CONV_BN)
    one = make_case(reference, "recentred", 3, 8)
    assert (one.seed, one.state_seed) == (3, 8)
    for other, inputs_alike, state_alike in (
        (make_case(reference, "recentred", 4, 8), False, True),
        (make_case(reference, "recentred", 3, 9), True, False),
        (make_case(reference, "recentred", 3), True, False),
    ):
        assert torch.equal(one.inputs.tensors[0], other.inputs.tensors[0]) is inputs_alike
        assert torch.equal(one.state["conv.weight"], other.state["conv.weight"]) is state_alike
    assert make_case(reference, "as_given", 3).state_seed is None
    assert make_case(reference, "recentred", 3).state_seed == 3


def test_tensors_of_one_form_do_not_share_their_noise() -> None:
    after = randomise_state({"a": torch.zeros(64), "b": torch.zeros(64)}, 5)
    assert not torch.equal(after["a"], after["b"])


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
