"""Honest answers are accepted and cheats refused, by the whole of the judge's criteria, on small problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from judge.judge_factory import (
    CONV_BN,
    GELU,
    LINEAR,
    LOSS,
    ROW_MEAN,
    ROW_SUM,
    SOFTMAX,
    Answer,
    State,
    blocked_sum,
    conv_by_matrix,
    functional,
    normalise,
    reference_of,
    verdict_of,
)
from kbench.judge.cases import CASE_NAMES, SeedSource, make_case
from kbench.judge.desk import Refusal
from kbench.judge.judging import Question, ask_first, check_answer, further_questions
from kbench.judge.oracle import expect, round_mantissa
from kbench.model import Precision, Status


def questions_of(path: Path, source: str, *, seed: int = 0, **fields: Any) -> list[Question]:
    reference, seeds = reference_of(path, source, **fields), SeedSource(seed)
    return [ask_first(reference, seeds), *further_questions(reference, seeds, [])]


def bf16(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.bfloat16().float()


def tf32(tensor: torch.Tensor) -> torch.Tensor:
    return round_mantissa(tensor, 10)


def linear(rounding: Callable[[torch.Tensor], torch.Tensor]) -> Answer:
    return lambda s, x: F.linear(rounding(x), rounding(s["l.weight"]), s["l.bias"])


def conv(s: State, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x, s["conv.weight"], s["conv.bias"])


def softmax_of(x: torch.Tensor, *, columns: int) -> torch.Tensor:
    kept = x[:, :columns].exp()
    return F.pad(kept / kept.sum(1, keepdim=True), (0, x.shape[1] - columns))


HONEST: dict[str, tuple[str, Answer]] = {
    "sums in blocks": (ROW_SUM, lambda _, x: blocked_sum(x, 64)),
    "sums backwards": (ROW_SUM, lambda _, x: x.flip(1).cumsum(1)[:, -1]),
    "products in blocks": (
        LINEAR,
        lambda s, x: blocked_sum(x[:, None, :] * s["l.weight"], 16) + s["l.bias"],
    ),
    "convolution as a matrix product": (
        CONV_BN,
        lambda s, x: normalise(conv_by_matrix(x, s["conv.weight"], s["conv.bias"]), s),
    ),
    "variance in one pass": (
        CONV_BN,
        lambda s, x: normalise(conv(s, x), s),
    ),
    "softmax, the largest subtracted": (SOFTMAX, lambda _, x: softmax_of(x - x.amax(1, keepdim=True), columns=1024)),
    "mean in blocks": (ROW_MEAN, lambda _, x: blocked_sum(x, 32) * torch.tensor(1 / 4096)),
    "gelu by erf": (GELU, lambda _, x: x * 0.5 * (1 + torch.erf(x * 0.5**0.5))),
    "loss in blocks": (LOSS, lambda _, x, y: blocked_sum((x - y).square().flatten(), 256) / x.numel()),
}

CHEATS: dict[str, tuple[str, Answer]] = {
    "zeros": (SOFTMAX, lambda _, x: torch.zeros_like(x)),
    "1/N for softmax": (SOFTMAX, lambda _, x: torch.full_like(x, 1 / x.shape[1])),
    "the last columns dropped": (SOFTMAX, lambda _, x: softmax_of(x, columns=1020)),
    "a constant for a mean": (ROW_MEAN, lambda _, x: x.mean().expand(x.shape[0])),
    "one half for a mean": (ROW_MEAN, lambda _, x: torch.full((x.shape[0],), 0.5)),
    "tanh-GELU for erf-GELU": (GELU, lambda _, x: F.gelu(x, approximate="tanh")),
    "TF32 inputs": (LINEAR, linear(tf32)),
    "bf16 inputs": (LINEAR, linear(bf16)),
    "fp16 inputs": (LINEAR, linear(lambda t: t.half().float())),
    "TF32 weights only": (LINEAR, lambda s, x: F.linear(x, tf32(s["l.weight"]), s["l.bias"])),
    "statistics of 16 of 128 images": (CONV_BN, lambda s, x: normalise(conv(s, x), s, of=conv(s, x[:16]))),
    "statistics of 127 of 128 images": (CONV_BN, lambda s, x: normalise(conv(s, x), s, of=conv(s, x[:127]))),
    "unbiased variance": (CONV_BN, lambda s, x: normalise(conv(s, x), s, unbiased=True)),
    "eps dropped": (CONV_BN, lambda s, x: normalise(conv(s, x), s, eps=0.0)),
    "another eps": (CONV_BN, lambda s, x: normalise(conv(s, x), s, eps=1e-6)),
    "the bias ignored": (LINEAR, lambda s, x: F.linear(x, s["l.weight"])),
    "no normalisation": (CONV_BN, lambda s, x: conv(s, x)),
    "half of a loss": (LOSS, lambda _, x, y: (x[::2] - y[::2]).square().mean()),
    "the loss of independent normals": (LOSS, lambda *_: torch.tensor(2.0)),
    "the input": (GELU, lambda _, x: x),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_answer_in_another_order_is_accepted_in_every_case(tmp_path: Path, name: str, seed: int) -> None:
    source, answer = HONEST[name]
    for question in questions_of(tmp_path, source, seed=seed):
        assert verdict_of(question, answer) is None, question.case.name


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_refused_on_the_problems_own_inputs(tmp_path: Path, name: str) -> None:
    source, answer = CHEATS[name]
    for seed in range(3):
        question = questions_of(tmp_path, source, seed=seed)[0]
        verdict = verdict_of(question, answer)
        assert verdict is not None and (verdict.status, verdict.reason) == (Status.INCORRECT, "values")


@pytest.mark.parametrize(
    ("answer", "caught_by"),
    [
        (lambda s, x: normalise(conv(s, x), {**s, "bn.weight": torch.ones(8)}), "randomised_parameters"),
        (lambda s, x: normalise(conv(s, x), {**s, "bn.bias": torch.zeros(8)}), "randomised_parameters"),
        (lambda s, x: normalise(conv(s, x.clamp(min=0)), s), "recentred"),
        (lambda s, x: normalise(conv(s, x.clamp(max=1)), s), "scaled_up"),
    ],
)
def test_what_the_problems_own_values_cannot_show_a_further_case_does(
    tmp_path: Path, answer: Answer, caught_by: str
) -> None:
    questions = {question.case.name: question for question in questions_of(tmp_path, CONV_BN)}
    assert verdict_of(questions["as_given"], answer) is None
    assert verdict_of(questions[caught_by], answer) is not None


@pytest.mark.parametrize("place", [0, 17, -1])
def test_one_wrong_element_is_found_and_named(tmp_path: Path, place: int) -> None:
    def answer(s: State, x: torch.Tensor) -> torch.Tensor:
        right = linear(lambda t: t)(s, x)
        right.flatten()[place] += 1e-3 * right.std()
        return right  # type: ignore[no-any-return]

    verdict = verdict_of(questions_of(tmp_path, LINEAR)[0], answer)
    assert verdict is not None
    flat = range(32 * 32)[place]
    assert verdict.evidence["index"] == [flat // 32, flat % 32]
    assert verdict.evidence["off"] == 1


def test_a_tail_that_nobody_wrote_shows_as_poison(tmp_path: Path) -> None:
    def answer(_: State, x: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(x.contiguous().view(torch.uint8), 0xFF).view(torch.float32)
        out.flatten()[:-100] = F.gelu(x).flatten()[:-100]
        return out

    verdict = verdict_of(questions_of(tmp_path, GELU)[0], answer)
    assert verdict is not None and verdict.reason == "nonfinite"
    assert verdict.evidence["off"] == 100


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_half_precision_accepts_itself_and_sums_in_fp32_and_refuses_fp8(tmp_path: Path, precision: Precision) -> None:
    for question in questions_of(tmp_path, LINEAR, precision=precision)[:3]:
        dtype = question.case.inputs.tensors[0].dtype
        assert question.expected.decidable

        def in_fp32(s: State, x: torch.Tensor, dtype: torch.dtype = dtype) -> torch.Tensor:
            return F.linear(x.float(), s["l.weight"].float(), s["l.bias"].float()).to(dtype)

        def in_fp8(s: State, x: torch.Tensor) -> torch.Tensor:
            return F.linear(round_mantissa(x, 3), round_mantissa(s["l.weight"], 3), s["l.bias"])

        assert verdict_of(question, linear(lambda t: t)) is None
        assert verdict_of(question, in_fp32) is None
        assert verdict_of(question, in_fp8) is not None


def test_tf32_is_accepted_where_it_is_declared_one_precision_up(tmp_path: Path) -> None:
    """On the CPU eager does not use TF32, so only what is better than TF32 is sure to pass there."""
    for question in questions_of(tmp_path, LINEAR, precision=Precision.TF32)[:3]:
        assert verdict_of(question, linear(lambda t: t)) is None
        assert verdict_of(question, linear(bf16)) is not None


@pytest.mark.parametrize("forward", ["x.argmax(1)", "(x > 0)", "x.sort(1).indices", "x.round().long()"])
def test_integer_outputs_are_exact(tmp_path: Path, forward: str) -> None:
    source = functional(forward, "torch.randn(16, 64)")
    for question in questions_of(tmp_path, source):
        right = question.expected.eager[0]
        assert verdict_of(question, lambda *_, right=right: right) is None
        wrong = right.clone()
        wrong.flatten()[3] = ~wrong.flatten()[3] if wrong.dtype is torch.bool else wrong.flatten()[3] + 1
        free = question.case.name == "nonfinite" and wrong.dtype is not torch.bool  # where NaN sorts is not written
        assert (verdict_of(question, lambda *_, wrong=wrong: wrong) is None) is free


def test_an_output_of_zeros_is_exact(tmp_path: Path) -> None:
    for question in questions_of(tmp_path, functional("x * 0", "torch.randn(8, 8)")):
        swallows = question.case.name == "nonfinite"  # NaN times 0 is NaN
        assert (verdict_of(question, lambda _, x: torch.zeros_like(x)) is None) is not swallows
    assert verdict_of(questions_of(tmp_path, functional("x * 0", "torch.randn(8, 8)"))[0], lambda _, x: x * 1e-6)


@pytest.mark.parametrize("forward", ["x[:0]", "x.new_zeros(3, 0)"])
def test_an_empty_output_is_accepted(tmp_path: Path, forward: str) -> None:
    question = questions_of(tmp_path, functional(forward, "torch.randn(8, 8)"))[0]
    assert verdict_of(question, lambda *_: question.expected.eager[0]) is None


def test_each_of_several_outputs_is_judged_and_named(tmp_path: Path) -> None:
    question = questions_of(tmp_path, functional("(x + 1, {'m': x.mean(), 'i': x.argmax(1)})", "torch.randn(8, 8)"))[0]

    def answer(wrong: int) -> Answer:
        def give(_: State, x: torch.Tensor) -> Any:
            parts = [x + 1, x.mean(), x.argmax(1)]
            if wrong >= 0:
                parts[wrong] = parts[wrong] + 1
            return parts

        return give

    assert verdict_of(question, answer(-1)) is None
    for number in range(3):
        verdict = verdict_of(question, answer(number))
        assert verdict is not None and verdict.message.startswith(f"output {number}, ")


def test_a_wrong_form_is_the_verdict_as_it_stands(tmp_path: Path) -> None:
    question = questions_of(tmp_path, GELU)[0]
    verdict = check_answer(Refusal(reason="shape", message="output 0 has shape [1]"), question)
    assert verdict is not None and (verdict.reason, verdict.status) == ("shape", Status.INCORRECT)
    assert "case as_given" in verdict.message


def test_a_verdict_carries_the_tolerance_it_was_held_to(tmp_path: Path) -> None:
    question = questions_of(tmp_path, GELU)[0]
    verdict = verdict_of(question, lambda _, x: x)
    assert verdict is not None
    budget = question.expected.budgets[0]
    assert verdict.evidence["tolerance"] == budget.limit and verdict.evidence["case"] == "as_given"
    assert verdict.evidence["seed"] == question.case.seed and verdict.evidence["state_seed"] is None
    error, allowed = verdict.evidence["error"], verdict.evidence["allowed"]
    assert error > allowed and verdict.evidence["ratio"] == pytest.approx(error / allowed)
    assert error == pytest.approx(abs(verdict.evidence["got"] - verdict.evidence["expected"]))


@pytest.mark.parametrize(
    ("forward", "left_out"),
    [
        ("x.log().sum()", ["recentred", "heavy_tailed", "ties", "nonfinite"]),
        ("x.log().mean()", ["recentred", "heavy_tailed", "ties", "nonfinite"]),
        ("x + 1", []),
    ],
)
def test_cases_without_a_finite_number_are_left_out_and_said(tmp_path: Path, forward: str, left_out: list[str]) -> None:
    flags: list[str] = []
    reference = reference_of(tmp_path, functional(forward, "torch.rand(8, 64) + 0.01"))
    asked = list(further_questions(reference, SeedSource(0), flags))
    whole = [] if left_out == [] else ["case_not_possible:integers"]
    assert flags == [f"case_not_finite:{name}" for name in left_out] + whole
    assert {q.case.name for q in asked} == set(CASE_NAMES[1:]) - {flag.split(":")[1] for flag in flags}


def test_a_case_that_overflows_at_the_declared_precision_proves_nothing_and_is_left_out(tmp_path: Path) -> None:
    source = functional("x * 100.0", "400 + torch.rand(8, 8)")
    reference = reference_of(tmp_path, source, precision=Precision.FP16)
    flags: list[str] = []
    list(further_questions(reference, SeedSource(0), flags))
    assert flags == ["case_not_finite:scaled_up"]


def test_a_timed_case_is_judged_by_the_budget_of_another_seed(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, LINEAR)
    budgets = [expect(reference, make_case(reference, "as_given", seed)).budgets[0].limit for seed in range(1, 9)]
    assert max(budgets) < 1.5 * min(budgets)
