"""How far an output may lie from the oracle: criteria on the scale of the output, with a bracketed tolerance.

With d = y - o, s = std(o): rms(d)/s <= T, the worst slice along every dimension <= 4T, |mean(d)|/s <= T/2, every
element |d_i| <= 5T (s + |o_i|) or four times the worst error of eager, and an output must not be constant where the
oracle is not. T lies between the error of trusted eager at the declared precision (e_hi) and that of the reference one
precision lower (e_lo): sqrt(e_hi e_lo), within [2 e_hi, e_lo/3]. So another order of summation passes, fewer bits do
not.

What these criteria cannot tell: a cheat that errs by no more than a long honest sum does. An unbiased variance over n
values moves an output by 1/(2n) of itself, which is below T from n of about 10^5 on; its running variance too. A
product of inputs cut to 16 bits of mantissa (an fp32 matrix product out of two bf16 parts each) errs by about T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from kbench.judge.mismatch import Mismatch, describe, with_evidence

_SLICE_FACTOR = 4.0
_ELEMENT_FACTOR = 5.0
_WORST_FACTOR = 4.0
"""Where rounding errors are rare and large, no multiple of their rms bounds them: behind a sigmoid that saturates all
but everywhere eager's worst element is off by 100 to 230 times its rms (12 million elements), and by more the more
elements there are. Sums in another order had worst elements of 0.5 to 1.9 times eager's (12 seeds)."""
_MEAN_FACTOR = 0.5
_DECIDABLE_RATIO = 6.0
_LUCK = 3.0
_SUMMING = 15.0
_SHARED = 4.0
_LONG_SUM = 8.0
"""A mean of 8192 equal numbers, summed in a few lanes, is off by 28 units of its own size the same way in every row
(measured on a matrix-vector product); where the rows differ little, that is much of their spread. But for inputs of a
few values never more than a third of what a lower precision costs."""
_TINY_SPREAD = 1e-3
"""Below this share of rms(o), the spread of o is no scale: o is all but constant."""
_WHOLE_LIMIT = 0.25
"""A whole number must come nearer than this: half of what would round to another, for any algorithm's rounding."""
_MARGIN = 0.98
"""A first look in fp32 accepts only what is this clear; the rest is judged in fp64."""
_FP32_SAFE = 1e-20
"""Budgets below this, in the output's own units, are not looked at in fp32: differences would underflow."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The budget of one output tensor. `limit` is T; `scale` is s; both positive."""

    limit: float
    scale: float
    e_hi: float
    e_lo: float
    worst: float = 0.0
    """What any element may be off by, in the output's own units, because eager's worst one is off by much."""
    bias: float = 0.0
    """What a long sum may be off by in all elements alike, on the scale s: the mean error may reach this or T/2."""
    whole: bool = False
    """Every element is a whole number and must round to just that one."""
    lenient_nonfinite: bool = False
    """NaN or infinity, whichever, will do where the reference has either, and may spread within that sample."""

    @property
    def decidable(self) -> bool:
        """Whether honest rounding and a lower precision lie far enough apart to be told from each other."""
        return self.whole or self.e_lo >= _DECIDABLE_RATIO * self.e_hi


EXACT = Tolerance(limit=_WHOLE_LIMIT, scale=1.0, e_hi=0.0, e_lo=_WHOLE_LIMIT, whole=True)


def bracket(
    oracle: torch.Tensor, eager: torch.Tensor, lower: torch.Tensor, *, few_values: bool = False
) -> Tolerance:
    """The tolerance of one output, from the oracle (fp64), eager (declared dtype) and the lower precision.

    `few_values`: the inputs are made of a few numbers. Roundings of a long sum then add up instead of cancelling, and
    few bits may lose nothing; so there is room for such a sum, and precision is for the other cases to tell.
    """
    if not eager.is_floating_point() and not eager.is_complex():
        return EXACT
    oracle, eager, lower = (_real_values(tensor) for tensor in (oracle, eager, lower))
    measured = _errors(oracle, eager, lower)
    if not all(math.isfinite(value) for value in measured):
        finite = torch.isfinite(oracle) & torch.isfinite(eager) & torch.isfinite(lower)
        oracle, eager, lower = oracle[finite], eager[finite], lower[finite]
        measured = _errors(oracle, eager, lower)
    size, spread, high, low, highest, lowest = measured
    scale = spread if spread > _TINY_SPREAD * size else (size or 1.0)
    e_hi = max(high, _least_error(size, oracle.numel(), eager.dtype)) / scale
    e_lo = low / scale
    limit = min(max(math.sqrt(e_hi * e_lo), 2 * e_hi), max(e_lo / 3, 2 * e_hi))
    shared = _shared_error(size) / scale
    shared = max(shared, _LONG_SUM * shared if few_values else min(_LONG_SUM * shared, e_lo / 3))
    bias = shared if few_values else 0.0
    worst = min(_WORST_FACTOR * highest, lowest / 3)
    return Tolerance(limit=max(limit, shared), scale=scale, e_hi=e_hi, e_lo=e_lo, worst=worst, bias=bias)


def whole_numbers(oracle: torch.Tensor, eager: torch.Tensor) -> Tolerance | None:
    """The budget of an output that is exactly whole in fp64 and in eager; None where one is not.

    Integers and booleans always are: they are compared exactly anyway.
    """
    if eager.is_complex():
        return None
    if eager.is_floating_point():
        exact = (oracle == oracle.round()) & (oracle == eager) & (oracle.abs() < 2 / torch.finfo(eager.dtype).eps)
        if not bool(exact.all()):
            return None
    return EXACT


def _real_values(values: torch.Tensor) -> torch.Tensor:
    """A complex number is two real ones, each judged."""
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values


def _errors(oracle: torch.Tensor, eager: torch.Tensor, lower: torch.Tensor) -> tuple[float, ...]:
    """The oracle's rms and standard deviation, the rms errors of the two others, and the worst errors of these two.

    NaN where one is not finite.
    """
    if oracle.numel() == 0:
        return (0.0,) * 6
    oracle = oracle.double()
    spread = float(oracle.std(correction=0))
    (high, highest), (low, lowest) = (_size_of(torch.sub(values, oracle)) for values in (eager, lower))
    return _rms(oracle), spread, high, low, highest, lowest


def _size_of(error: torch.Tensor) -> tuple[float, float]:
    return _rms(error), float(torch.linalg.vector_norm(error, ord=math.inf))


def _rms(values: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(values)) / math.sqrt(max(values.numel(), 1))


def _least_error(size: float, count: int, dtype: torch.dtype) -> float:
    """The smallest rms error that eager is credited with, in the output's own units; `size` is the oracle's rms.

    Storing the output costs about eps/4. Beyond that, eager's own error is an rms of n draws: where n is small it may
    be nearly zero by luck, and eager sums pairwise, which hardly errs, while a kernel that adds up 4096 blocks one by
    one is off by 16 units of fp32. Without an allowance for both, such a kernel failed at 57 of 60 seeds on a scalar
    loss, and one with 128 blocks at 7; with it none did (simulated).
    """
    eps = torch.finfo(dtype if dtype.is_floating_point else torch.float64).eps
    few = 1 / math.sqrt(max(count, 1))
    share = eps / 4 * (1 + _LUCK * few) + _SUMMING * torch.finfo(torch.float32).eps * few
    return share * (size or 1.0)


def _shared_error(size: float) -> float:
    """What T, in the output's own units, never falls below: a factor or term that many elements share errs alike.

    A softmax over nearly equal values has little spread about 1/N, so that one unit in the last place of its sum is a
    shift of everything by much of T.
    """
    return _SHARED * torch.finfo(torch.float32).eps * size


def compare(got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor, budget: Tolerance) -> Mismatch | None:
    """Judge one output of the right shape and dtype. Returns None where it is accepted."""
    if not eager.is_floating_point() and not eager.is_complex():
        return _compare_exact(got, oracle, eager, budget)
    if budget.whole:
        return _compare_whole(got, oracle)
    got, oracle, eager = _real_values(got), _real_values(oracle), _real_values(eager)
    if got.numel() == 0 or _clearly_within(got, oracle, budget):
        return None
    if (mismatch := _compare_nonfinite(got, oracle, eager, budget)) is not None:
        return mismatch
    kept = torch.isfinite(oracle) & torch.isfinite(eager)
    if budget.lenient_nonfinite:
        kept &= torch.isfinite(got)
    error = torch.sub(got, oracle)
    truth = oracle
    if not bool(kept.all()):
        zero = torch.zeros((), dtype=oracle.dtype, device=oracle.device)
        error, truth = torch.where(kept, error, zero), torch.where(kept, oracle, zero)
    allowed = truth.abs().add_(budget.scale).mul_(_ELEMENT_FACTOR * budget.limit).clamp_(min=budget.worst)
    badness = error.abs().div_(allowed)
    over = badness > 1
    if bool(over.any()):
        return _with_ratio(describe("an element is off", got, oracle, over, badness), budget)
    del allowed, badness, over
    return _compare_overall(got, oracle, error, truth, budget)


def _clearly_within(got: torch.Tensor, oracle: torch.Tensor, budget: Tolerance) -> bool:
    """Whether every criterion holds by far, in four passes and with one temporary of fp32.

    Where no element is off by 4T, no slice is, and no element's own size need be asked for.
    """
    unit = budget.limit * budget.scale
    if unit < _FP32_SAFE:
        return False
    error = torch.sub(got, oracle).float().div_(unit)
    if not float(torch.linalg.vector_norm(error, ord=math.inf)) <= _MARGIN * _SLICE_FACTOR:
        return False  # NaN, too
    within = _rms(error) <= _MARGIN and abs(float(error.mean())) <= _MARGIN * _MEAN_FACTOR
    return within and not _is_constant(got)


def _is_constant(values: torch.Tensor) -> bool:
    if values.numel() < 2:  # noqa: PLR2004 - one number is all there is
        return False
    least, most = torch.aminmax(values)
    return bool(least == most)


def _compare_overall(
    got: torch.Tensor, oracle: torch.Tensor, error: torch.Tensor, truth: torch.Tensor, budget: Tolerance
) -> Mismatch | None:
    """The criteria on the whole, which catch what no element shows by itself."""
    limit, scale = budget.limit, budget.scale

    def refused(text: str, value: float, most: float) -> Mismatch:
        size = error.abs()
        over = size > limit * scale
        over = over if bool(over.any()) else torch.ones_like(over)
        return with_evidence(_with_ratio(describe(text, got, oracle, over, size), budget), ratio=value / most)

    if (rms := _rms(error) / scale) > limit:
        return refused(f"the error as a whole is {rms:.2e} of the output's scale", rms, limit)
    most = max(_MEAN_FACTOR * limit, budget.bias)
    if (mean := abs(float(error.mean())) / scale) > most and error.numel() > 1:
        return refused(f"the error has a mean of {mean:.2e} of the output's scale", mean, most)
    for dim in range(error.dim()):
        one_bad_element = budget.worst / math.sqrt(error.numel() / error.shape[dim])
        allowed = (_SLICE_FACTOR * limit * _along(truth, dim).clamp(min=scale)).clamp(min=one_bad_element)
        badness = _along(error, dim) / allowed
        worst = int(badness.argmax())
        if (share := float(badness[worst])) > 1:
            return refused(f"slice {worst} of dimension {dim} is off as a whole", share, 1)
    if _is_constant(got) and not _is_constant(oracle):
        return Mismatch(message="the output is constant and should not be", evidence={"got": float(got.flatten()[0])})
    return None


def _along(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The rms of each slice along `dim`."""
    others = [d for d in range(values.dim()) if d != dim]
    if not others:
        return values.abs()
    norms: torch.Tensor = torch.linalg.vector_norm(values, dim=others)
    return norms / math.sqrt(values.numel() / values.shape[dim])


def _with_ratio(mismatch: Mismatch, budget: Tolerance) -> Mismatch:
    """Add what the worst element was allowed, and its error as a share of that."""
    expected, error = mismatch.evidence["expected"], mismatch.evidence["error"]
    if isinstance(expected, str) or isinstance(error, str):
        return mismatch
    own = max(_ELEMENT_FACTOR * budget.limit * (budget.scale + abs(expected)), budget.worst)
    allowed = _WHOLE_LIMIT if budget.whole else own
    return with_evidence(mismatch, allowed=allowed, ratio=error / allowed)


def _compare_exact(
    got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor, budget: Tolerance
) -> Mismatch | None:
    """Integers and booleans: equal to the oracle wherever eager is, since elsewhere rounding decides.

    Beside NaN only booleans are compared: which index a NaN has among a row's extremes is nowhere written.
    """
    if budget.lenient_nonfinite and eager.dtype is not torch.bool:
        return None
    over = (eager == oracle) & (got != oracle)
    if not bool(over.any()):
        return None
    return describe("an element differs", got, oracle, over, (got.double() - oracle.double()).abs())


def _compare_whole(got: torch.Tensor, oracle: torch.Tensor) -> Mismatch | None:
    error = torch.sub(got, oracle).abs()
    over = ~(error < _WHOLE_LIMIT)
    if not bool(over.any()):
        return None
    return _with_ratio(describe("an element is not the whole number it must be", got, oracle, over, error), EXACT)


def _compare_nonfinite(
    got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor, budget: Tolerance
) -> Mismatch | None:
    """NaN and infinities stand where oracle and eager agree that they do, and nowhere else.

    In the lenient form they may spread over a sample (an index of the first dimension) that has one in the reference:
    the transforms of fast convolutions mix neighbours. They must not reach another sample.
    """
    finite, due = torch.isfinite(oracle) & torch.isfinite(eager), ~torch.isfinite(oracle) & ~torch.isfinite(eager)
    stray = finite & ~torch.isfinite(got)
    rules = [(stray, "NaN or infinity where the reference is finite")]
    if budget.lenient_nonfinite and got.dim() > 1:
        stray &= ~_samples_with(due)
    rules.append((due & torch.isfinite(got), "finite where the reference is not"))
    if not budget.lenient_nonfinite:
        both_nan = oracle.isnan() & eager.isnan()
        same_infinity = oracle.isinf() & (oracle == eager)
        other = (both_nan & ~got.isnan()) | (same_infinity & (got != oracle))
        rules.append((other, "another infinity, or NaN, than the reference's"))
    for mask, text in rules:
        if bool(mask.any()):
            return with_evidence(describe(text, got, oracle, mask, mask.double()), nonfinite=True)
    return None


def _samples_with(mask: torch.Tensor) -> torch.Tensor:
    """For each index of the first dimension, whether `mask` holds anywhere in it, in a shape that broadcasts."""
    return mask.flatten(1).any(dim=1).view(-1, *[1] * (mask.dim() - 1))
