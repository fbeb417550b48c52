"""The criteria on one output, by themselves."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from judge.judge_factory import blocked_sum
from kbench.judge.mismatch import Mismatch
from kbench.judge.tolerance import Tolerance, bracket, compare, whole_numbers

NAN, INF = math.nan, math.inf


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_error(oracle: torch.Tensor, share: float, *, seed: int = 1) -> torch.Tensor:
    """`oracle` with noise of `share` of its own spread."""
    return oracle + share * float(oracle.std()) * drawn(*oracle.shape, seed=seed)


def budget_of(limit: float = 1e-3, scale: float = 1.0) -> Tolerance:
    return Tolerance(limit=limit, scale=scale, e_hi=limit / 10, e_lo=limit * 10)


def judged(got: torch.Tensor, oracle: torch.Tensor, budget: Tolerance | None = None) -> Mismatch | None:
    return compare(got, oracle, oracle.to(got.dtype), budget or budget_of())


# --- the bracket ---


@pytest.mark.parametrize(
    ("e_hi", "e_lo", "limit"),
    [
        (1e-6, 1e-2, 1e-4),  # between the two
        (1e-5, 1e-4, math.sqrt(1e-9)),
        (1e-4, 7e-4, 7e-4 / 3),  # held below a third of the lower precision
        (1e-4, 5e-4, 2e-4),  # too close: twice eager's own error
        (1e-4, 0.0, 2e-4),
    ],
)
def test_the_limit_lies_between_eager_and_one_precision_lower(e_hi: float, e_lo: float, limit: float) -> None:
    oracle = drawn(200, 200)
    budget = bracket(oracle, with_error(oracle, e_hi), with_error(oracle, e_lo, seed=2))
    assert budget.limit == pytest.approx(limit, rel=0.02)
    assert budget.decidable is (e_lo >= 6 * e_hi)


def rarely_off(oracle: torch.Tensor, seed: int, by: float = 3e-4) -> torch.Tensor:
    """Rounding errors that show in one element of 10,000 only, as behind a sigmoid that saturates elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    rare = torch.rand(oracle.shape, generator=generator, dtype=torch.float64) < 1e-4
    noise = torch.randn(oracle.shape, generator=generator, dtype=torch.float64)
    return oracle + by * rare * noise


def test_an_element_may_be_off_by_as_much_as_eagers_worst_one() -> None:
    refused_by_rms = 0
    for seed in range(10):
        oracle = drawn(500, 500, seed=seed)
        eager, got = (rarely_off(oracle, 2 * seed + which + 100) for which in (0, 1))
        budget = bracket(oracle, eager, rarely_off(oracle, seed + 200, by=0.3))
        assert compare(got, oracle, eager, budget) is None
        refused_by_rms += compare(got, oracle, eager, dataclasses.replace(budget, worst=0.0)) is not None
        spoilt = got.clone()
        spoilt[seed, 0] += 10 * float((eager - oracle).abs().max())
        mismatch = compare(spoilt, oracle, eager, budget)
        assert mismatch is not None and mismatch.evidence["index"] == [seed, 0]
    assert refused_by_rms >= 3


def test_a_worst_element_is_no_excuse_where_a_lower_precision_errs_as_much() -> None:
    oracle = drawn(500, 500)
    eager, lower = rarely_off(oracle, 1), rarely_off(oracle, 2, by=6e-4)
    worst_of_lower = float((lower - oracle).abs().max())
    assert bracket(oracle, eager, lower).worst <= worst_of_lower / 3


def test_a_single_bad_element_of_a_slice_is_no_bad_slice() -> None:
    """Of an output of one dimension each element is a slice."""
    oracle = drawn(4000)
    budget = dataclasses.replace(budget_of(1e-5), worst=1e-3)
    got = oracle.clone()
    got[7] += 0.9e-3
    assert compare(got, oracle, oracle, dataclasses.replace(budget, limit=2e-5)) is None
    got[7] += 0.2e-3
    assert compare(got, oracle, oracle, dataclasses.replace(budget, limit=2e-5)) is not None


def test_long_sums_of_a_few_values_may_all_be_off_alike() -> None:
    """As a matrix-vector product with 1/8192 is for rows of which each holds 256 numbers 32 times over."""
    generator = torch.Generator().manual_seed(4)
    for _ in range(20):
        few = torch.rand(256, generator=generator)
        rows = few[torch.randint(0, 256, (256, 8192), generator=generator)]
        oracle, eager = rows.double().mean(1), rows.mean(1)
        lower = rows.bfloat16().double().mean(1)
        got = torch.mv(rows, torch.full((8192,), 1 / 8192))
        assert compare(got, oracle, eager, bracket(oracle, eager, lower, few_values=True)) is None


def test_a_bias_of_half_the_tolerance_is_too_much_where_no_sum_explains_it() -> None:
    oracle = drawn(200, 200)
    budget = bracket(oracle, with_error(oracle, 1e-5), with_error(oracle, 1e-2, seed=2))
    assert compare(oracle + 0.4 * budget.limit, oracle, oracle, budget) is None
    mismatch = compare(oracle + 0.6 * budget.limit, oracle, oracle, budget)
    assert mismatch is not None and "has a mean of" in mismatch.message


def test_the_scale_is_the_spread_or_the_size_where_there_is_no_spread() -> None:
    oracle = 3 + 2 * drawn(100, 100)
    assert bracket(oracle, oracle, oracle).scale == pytest.approx(2, rel=0.05)
    assert bracket(torch.full((9,), 5.0), torch.full((9,), 5.0), torch.full((9,), 5.0)).scale == pytest.approx(5.0)
    assert bracket(torch.zeros(9), torch.zeros(9), torch.zeros(9)).scale == 1.0


def test_what_is_not_finite_does_not_widen_the_bracket() -> None:
    oracle = drawn(50, 50)
    eager, lower = with_error(oracle, 1e-6), with_error(oracle, 1e-2)
    clean = bracket(oracle, eager, lower)
    for tensor, place, value in ((oracle, 0, NAN), (eager, 1, INF), (lower, 2, -INF)):
        tensor[place, 0] = value
    dirty = bracket(oracle, eager, lower)
    assert dirty.limit == pytest.approx(clean.limit, rel=0.1)
    assert dirty.scale == pytest.approx(clean.scale, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.uint8])
def test_integers_have_a_bracket_that_nobody_needs(dtype: torch.dtype) -> None:
    values = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    assert math.isfinite(bracket(values, values, values).limit)


@pytest.mark.parametrize("values", [torch.zeros(0), torch.zeros(3, 0), torch.full((4,), NAN), torch.tensor(2.0)])
def test_every_form_of_output_has_a_positive_finite_budget(values: torch.Tensor) -> None:
    budget = bracket(values.double(), values, values.double())
    assert 0 < budget.limit < INF and 0 < budget.scale < INF


@pytest.mark.parametrize(
    ("dtype", "accepted", "refused"),
    [(torch.float32, 30 * 2**-23, 34 * 2**-23), (torch.float16, 2**-9, 3 * 2**-10), (torch.bfloat16, 2**-6, 3 * 2**-7)],
)
def test_a_single_number_may_be_off_by_what_rounding_makes_of_it(
    dtype: torch.dtype, accepted: float, refused: float
) -> None:
    """However lucky eager was: one draw says nothing about its error."""
    eager = torch.tensor(1.0, dtype=dtype)
    oracle = eager.double()
    budget = bracket(oracle, eager, oracle)
    assert not budget.decidable
    assert compare(torch.tensor(1 + accepted, dtype=dtype), oracle, eager, budget) is None
    assert compare(torch.tensor(1 + refused, dtype=dtype), oracle, eager, budget) is not None


@pytest.mark.parametrize("blocks", [128, 2048])
def test_an_honest_scalar_loss_in_another_order_is_accepted_at_every_seed(blocks: int) -> None:
    refused = 0
    for seed in range(15):
        a = drawn(32 * 1024, seed=seed).float()
        oracle = a.double().square().mean()
        lower = (a.double() * (1 + 2**-12 * drawn(32 * 1024, seed=seed + 1000))).square().mean()
        budget = bracket(oracle, a.square().mean(), lower)
        refused += compare(blocked_sum(a.square(), blocks) / a.numel(), oracle, a.square().mean(), budget) is not None
    assert refused == 0


# --- the criteria ---


def test_noise_within_the_limit_is_accepted() -> None:
    oracle = drawn(64, 64)
    assert judged(with_error(oracle, 0.9e-3), oracle) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("noise", "the error as a whole"),
        ("one element", "an element is off: at [5, 7]"),
        ("shift", "has a mean of"),
        ("one row", "slice 3 of dimension 0"),
        ("one column", "slice 9 of dimension 1"),
    ],
)
def test_each_criterion_finds_what_it_is_for(name: str, says: str) -> None:
    oracle = drawn(64, 64)
    got = oracle.clone()
    if name == "noise":
        got = with_error(oracle, 1.2e-3)
    elif name == "one element":
        got[5, 7] += 6e-3 * (1 + abs(float(oracle[5, 7])))
    elif name == "shift":
        got += 0.7e-3
    elif name == "one row":
        got[3] += 4.8e-3
    else:
        got[:, 9] -= 4.8e-3
    mismatch = judged(got, oracle)
    assert mismatch is not None and says in mismatch.message


def test_a_large_element_may_be_off_in_proportion() -> None:
    oracle = drawn(64, 64)
    oracle[0, 0] = 100.0
    got = oracle.clone()
    got[0, 0] += 0.06  # of 100; the root mean square of all is 9.4e-4
    assert judged(got, oracle) is None


def test_a_constant_is_refused_however_close_it_comes() -> None:
    oracle = 1 + 1e-5 * drawn(64, 64)
    mismatch = judged(torch.ones(64, 64), oracle)
    assert mismatch is not None and "constant" in mismatch.message


def test_a_constant_is_right_where_the_reference_is_constant() -> None:
    assert judged(torch.ones(64, 64), torch.ones(64, 64, dtype=torch.float64)) is None


@pytest.mark.parametrize("value", [1e-5, -1e-5, NAN])
def test_where_all_is_zero_anything_else_is_refused(value: float) -> None:
    zeros = torch.zeros(8, 8)
    budget = bracket(zeros.double(), zeros, zeros.double())
    assert compare(zeros, zeros.double(), zeros, budget) is None
    got = zeros.clone()
    got[2, 3] = value
    assert compare(got, zeros.double(), zeros, budget) is not None


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1, 3), (1, 1, 1, 1)])
def test_every_shape_is_judged(shape: tuple[int, ...]) -> None:
    oracle = 1 + drawn(*shape).abs()
    assert judged(oracle.float(), oracle) is None
    assert judged(oracle.float() * 1.01, oracle) is not None


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 2)])
def test_an_empty_output_has_nothing_wrong_with_it(shape: tuple[int, ...]) -> None:
    assert judged(torch.zeros(shape), torch.zeros(shape, dtype=torch.float64)) is None


@pytest.mark.parametrize(
    ("got", "reference", "accepted"),
    [
        (NAN, NAN, True),
        (INF, INF, True),
        (-INF, -INF, True),
        (1.0, NAN, False),
        (1.0, INF, False),
        (NAN, 1.0, False),
        (INF, 1.0, False),
        (-INF, INF, False),
        (NAN, INF, False),
        (INF, NAN, False),
    ],
)
def test_nan_and_infinities_stand_where_the_reference_has_them(got: float, reference: float, accepted: bool) -> None:
    oracle, answer = drawn(8, 8), drawn(8, 8)
    oracle[1, 2], answer[1, 2] = reference, got
    mismatch = judged(answer.float(), oracle)
    assert (mismatch is None) is accepted
    if mismatch is not None:
        assert mismatch.evidence["nonfinite"] is True and mismatch.evidence["index"] == [1, 2]


def test_where_eager_alone_overflows_nothing_is_asked() -> None:
    oracle = drawn(8, 8)
    oracle[0, 0] = 1e6
    eager = oracle.half()
    for value in (INF, 65504.0, NAN):
        got = oracle.half()
        got[0, 0] = value
        assert compare(got, oracle, eager, budget_of()) is None


def test_rest_is_still_judged_beside_nan() -> None:
    oracle = drawn(8, 8)
    oracle[0, 0] = NAN
    got = oracle.float()
    got[4, 4] += 1
    mismatch = judged(got, oracle)
    assert mismatch is not None and mismatch.evidence["index"] == [4, 4]


LENIENT = Tolerance(limit=1e-3, scale=1.0, e_hi=1e-4, e_lo=1e-2, lenient_nonfinite=True)


@pytest.mark.parametrize(
    ("got", "reference", "accepted"),
    [(NAN, INF, True), (INF, NAN, True), (-INF, INF, True), (1.0, NAN, False), (1.0, INF, False)],
)
def test_leniently_any_nonfinite_value_will_do_for_another(got: float, reference: float, accepted: bool) -> None:
    oracle, answer = drawn(8, 8), drawn(8, 8)
    oracle[1, 2], answer[1, 2] = reference, got
    mismatch = judged(answer.float(), oracle, LENIENT)
    assert (mismatch is None) is accepted
    assert mismatch is None or mismatch.evidence["nonfinite"] is True


def test_leniently_nan_may_spread_within_a_sample_but_not_to_another() -> None:
    oracle, answer = drawn(8, 4, 4), drawn(8, 4, 4)
    oracle[3, 1, 1] = NAN
    answer[3] = NAN
    assert judged(answer.float(), oracle, LENIENT) is None
    assert judged(answer.float(), oracle) is not None
    answer[4, 0, 0] = NAN
    mismatch = judged(answer.float(), oracle, LENIENT)
    assert mismatch is not None and mismatch.evidence["index"] == [4, 0, 0]


def test_leniently_finite_elements_are_judged_as_ever() -> None:
    oracle = drawn(8, 8)
    oracle[1, 2] = NAN
    got = oracle.float()
    got[1, 5] += 1
    mismatch = judged(got, oracle, LENIENT)
    assert mismatch is not None and mismatch.evidence["index"] == [1, 5]


# --- whole numbers ---


@pytest.mark.parametrize(("off", "accepted"), [(0.0, True), (0.24, True), (-0.24, True), (0.25, False), (NAN, False)])
def test_whole_numbers_are_those_and_no_others(off: float, accepted: bool) -> None:
    oracle = (100 * drawn(8, 8)).round()
    budget = whole_numbers(oracle, oracle.float())
    assert budget is not None and budget.decidable
    got = oracle.float()
    got[2, 3] += off
    mismatch = compare(got, oracle, oracle.float(), budget)
    assert (mismatch is None) is accepted
    if mismatch is not None:
        assert mismatch.evidence["index"] == [2, 3] and "whole number" in mismatch.message


@pytest.mark.parametrize("spoil", [0.5, NAN, INF, 2.0**24])
def test_what_is_not_whole_everywhere_has_no_such_budget(spoil: float) -> None:
    oracle = (100 * drawn(8, 8)).round()
    oracle[0, 0] = spoil
    assert whole_numbers(oracle, oracle.float()) is None


def test_what_eager_does_not_give_exactly_has_no_such_budget() -> None:
    oracle = (100 * drawn(8, 8)).round()
    eager = oracle.float()
    eager[3, 3] += 1
    assert whole_numbers(oracle, eager) is None
    assert whole_numbers(300 + oracle.abs(), (300 + oracle.abs()).bfloat16()) is None


# --- the first look, in fp32, and the long one agree ---


@pytest.mark.parametrize("share", [0.3, 0.97, 0.995, 1.005, 1.3])
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e12])
def test_the_limit_is_the_same_at_every_size(share: float, size: float) -> None:
    oracle = size * drawn(64, 64)
    noise = drawn(64, 64, seed=5)
    noise = (noise - noise.mean()) / noise.std(correction=0)
    got = oracle + share * 1e-3 * size * noise
    assert (judged(got, oracle, budget_of(scale=size)) is None) is (share < 1)


def test_an_error_all_share_is_allowed_some_units_in_the_last_place() -> None:
    """A softmax of nearly equal values: little spread about a large mean."""
    oracle = 1 + 2e-3 * drawn(64, 64)
    budget = bracket(oracle, oracle.float(), oracle + 2e-6 * drawn(64, 64, seed=3))
    assert compare((oracle * (1 + 2**-22)).float(), oracle, oracle.float(), budget) is None
    assert compare((oracle * (1 + 2**-19)).float(), oracle, oracle.float(), budget) is not None


# --- integers, complex ---


@pytest.mark.parametrize(
    ("got", "oracle", "eager", "accepted"),
    [
        ([1, 2], [1, 2], [1, 2], True),
        ([1, 3], [1, 2], [1, 2], False),
        ([1, 3], [1, 2], [1, 3], True),  # a tie that rounding decided otherwise
        ([1, 9], [1, 2], [1, 3], True),
        ([2**60 + 1, 0], [2**60, 0], [2**60, 0], False),  # the same number in fp64
        ([-1, -1], [1, 2], [1, 2], False),  # poison
    ],
)
def test_integers_are_compared_exactly_where_rounding_does_not_decide(
    got: list[int], oracle: list[int], eager: list[int], accepted: bool
) -> None:
    mismatch = compare(torch.tensor(got), torch.tensor(oracle), torch.tensor(eager), budget_of())
    assert (mismatch is None) is accepted


def test_booleans_are_compared_exactly() -> None:
    truth = torch.tensor([True, False])
    assert compare(truth, truth, truth, budget_of()) is None
    mismatch = compare(~truth, truth, truth, budget_of())
    assert mismatch is not None and mismatch.evidence["off"] == 2


@pytest.mark.parametrize("part", ["real", "imag"])
def test_both_parts_of_a_complex_output_are_judged(part: str) -> None:
    oracle = torch.complex(drawn(8, 8), drawn(8, 8, seed=1))
    eager = oracle.to(torch.complex64)
    budget = bracket(oracle, eager, oracle)
    assert compare(eager, oracle, eager, budget) is None
    got = eager.clone()
    getattr(got, part)[2, 3] += 0.5
    assert compare(got, oracle, eager, budget) is not None


# --- what is said ---


def test_a_mismatch_names_the_worst_element_and_the_pattern() -> None:
    oracle = drawn(16, 32)
    got = oracle.float()
    got[:, 28:] = 0
    got[4, 30] = 50.0
    mismatch = judged(got, oracle)
    assert mismatch is not None
    evidence = mismatch.evidence
    assert (evidence["index"], evidence["got"], evidence["total"]) == ([4, 30], 50.0, 512)
    assert evidence["expected"] == pytest.approx(float(oracle[4, 30]))
    assert evidence["pattern"] == "dimension 1: the tail 28..31 of 32"


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_evidence_is_fit_for_json(value: float) -> None:
    got = drawn(4, 4).float()
    got[0, 0] = value
    mismatch = judged(got, drawn(4, 4))
    assert mismatch is not None

    def plain(item: Any) -> bool:
        return not isinstance(item, float) or math.isfinite(item)

    assert all(plain(item) for item in mismatch.evidence.values())
