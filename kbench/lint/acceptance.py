"""Hold an answer against the judge's own criteria, quickly where it is far off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kbench.judge.oracle import Expected
from kbench.judge.tolerance import Tolerance, compare

_SAMPLED_ELEMENTS = 1 << 16
_FAR = 50.0
"""Ten times what the judge allows one element: an answer with one so far off needs no closer look."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a trick answers, where it differs from what is right."""

    outputs: Mapping[int, torch.Tensor]
    """By the output's number."""
    state: Mapping[str, torch.Tensor] | None = None
    """The state after the forward. None: as it should be."""


def accepted(answer: Answer, expected: Expected) -> bool:
    """Whether the judge would take `answer` for the reference's own.

    Where the reference is NaN the answer is made right beforehand: a cheat that passes NaN on (by `+ 0 * x`) is a cheat
    all the same, and a case of a few NaN is no defence against it.
    """
    parts = [
        (got, expected.oracle[n], expected.eager[n], expected.budgets[n]) for n, got in answer.outputs.items()
    ]
    if answer.state is not None:
        parts += [
            (answer.state[name], expected.oracle_state[name], expected.eager_state[name], budget)
            for name, budget in expected.state_budgets.items()
        ]  # fmt: skip
    return all(_accepts(*part) for part in parts)


def _accepts(got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor, budget: Tolerance) -> bool:
    if got.shape != oracle.shape:
        return False
    if _clearly_off(got, oracle, eager, budget):
        return False
    if eager.is_floating_point():
        got = torch.where(oracle.isnan() & eager.isnan(), eager.to(got.dtype), got)
    return compare(got, oracle, eager, budget) is None


def _clearly_off(got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor, budget: Tolerance) -> bool:
    """Whether one of some 10^4 elements is far off: then so is the whole, at a hundredth of the cost."""
    if not oracle.is_floating_point() or oracle.numel() <= _SAMPLED_ELEMENTS:
        return False
    step = oracle.numel() // _SAMPLED_ELEMENTS
    got, oracle, eager = (tensor.reshape(-1)[::step].double() for tensor in (got, oracle, eager))
    compared = got.isfinite() & oracle.isfinite() & eager.isfinite()
    far = (got - oracle).abs() > _FAR * budget.limit * (budget.scale + oracle.abs())
    return bool((far & compared).any())


def distance(answer: Answer, expected: Expected) -> float:
    """How far the answer's outputs lie from the oracle: rms, in units of honest rounding's own rms; the worst one."""
    worst = 0.0
    for number, got in answer.outputs.items():
        oracle, budget = expected.oracle[number], expected.budgets[number]
        if got.shape != oracle.shape:
            return math.inf
        if oracle.is_floating_point():
            rms = float((got.double() - oracle).nan_to_num(0.0).square().mean().sqrt())
            unit = budget.scale * budget.e_hi
            worst = max(worst, rms / unit if unit else math.inf if rms else 0.0)
        elif not torch.equal(got, oracle):
            return math.inf
    return worst
