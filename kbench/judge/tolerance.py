"""How far an output may lie from the oracle: criteria on the scale of the output, with a bracketed tolerance.

With d = y - o, s = std(o): rms(d)/s <= T, the worst slice along every dimension <= 4T, every element
|d_i| <= 5T (s + |o_i|), |mean(d)|/s <= T/2, and an output must not be constant where the oracle is not.
T lies between the error of trusted eager at the declared precision (e_hi) and that of the reference one precision
lower (e_lo): sqrt(e_hi e_lo), within [2 e_hi, e_lo/3]. So another order of summation passes, fewer bits do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

_SLICE_FACTOR = 4.0
_ELEMENT_FACTOR = 5.0
_MEAN_FACTOR = 0.5
_DECIDABLE_RATIO = 6.0
_LUCK = 3.0
_SUMMING = 15.0
_TINY_SPREAD = 1e-3
"""Below this share of rms(o), the spread of o is no scale: o is all but constant."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The budget of one output tensor. `limit` is T; `scale` is s; both positive."""

    limit: float
    scale: float
    e_hi: float
    e_lo: float

    @property
    def decidable(self) -> bool:
        """Whether honest rounding and a lower precision lie far enough apart to be told from each other."""
        return self.e_lo >= _DECIDABLE_RATIO * self.e_hi


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Why an output was not accepted, with the evidence."""

    message: str
    evidence: Mapping[str, Any]


def bracket(oracle: torch.Tensor, eager: torch.Tensor, lower: torch.Tensor) -> Tolerance:
    """The tolerance of one floating output, from the oracle (fp64), eager (declared dtype) and the lower precision."""
    oracle, eager, lower = _as_real(oracle), _as_real(eager), _as_real(lower)
    finite = torch.isfinite(oracle) & torch.isfinite(eager) & torch.isfinite(lower)
    oracle = oracle.double()
    truth = oracle[finite] if not bool(finite.all()) else oracle
    scale = _scale(truth)
    e_hi = max(_rms((eager.double() - oracle)[finite]), _least_error(truth, eager.dtype)) / scale
    e_lo = _rms((lower.double() - oracle)[finite]) / scale
    limit = min(max(math.sqrt(e_hi * e_lo), 2 * e_hi), max(e_lo / 3, 2 * e_hi))
    return Tolerance(limit=limit, scale=scale, e_hi=e_hi, e_lo=e_lo)


def _as_real(values: torch.Tensor) -> torch.Tensor:
    """A complex number is two real ones, each judged."""
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values


def _least_error(truth: torch.Tensor, dtype: torch.dtype) -> float:
    """The smallest rms error that eager is credited with, in the output's own units.

    Storing the output costs about eps/4. Beyond that, eager's own error is an rms of n draws: where n is small it may
    be nearly zero by luck, and eager sums pairwise, which hardly errs, while a kernel that adds up 4096 blocks one by
    one is off by 16 units of fp32. Without an allowance for both, such a kernel failed at 57 of 60 seeds on a scalar
    loss, and one with 128 blocks at 7; with it none did (simulated).
    """
    eps = torch.finfo(dtype if dtype.is_floating_point else torch.float64).eps
    few = 1 / math.sqrt(max(truth.numel(), 1))
    share = eps / 4 * (1 + _LUCK * few) + _SUMMING * torch.finfo(torch.float32).eps * few
    return share * (_rms(truth) or 1.0)


def _scale(values: torch.Tensor) -> float:
    if values.numel() == 0:
        return 1.0
    rms = _rms(values)
    spread = float(values.std(correction=0))
    return spread if spread > _TINY_SPREAD * rms else (rms or 1.0)


def _rms(values: torch.Tensor) -> float:
    return float(values.double().square().mean().sqrt()) if values.numel() else 0.0


def compare(got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor, budget: Tolerance) -> Mismatch | None:
    """Judge one output of the right shape and dtype. Returns None where it is accepted."""
    if not eager.is_floating_point() and not eager.is_complex():
        return _compare_exact(got, oracle, eager)
    got, oracle, eager = _as_real(got), _as_real(oracle), _as_real(eager)
    if (mismatch := _compare_nonfinite(got, oracle, eager)) is not None:
        return mismatch
    if got.numel() == 0:
        return None
    kept = torch.isfinite(oracle) & torch.isfinite(eager)
    zero = torch.zeros((), dtype=torch.float64, device=oracle.device)
    truth = torch.where(kept, oracle, zero)
    error = torch.where(kept, got.double() - truth, zero)
    allowed = _ELEMENT_FACTOR * budget.limit * (budget.scale + truth.abs())
    over = error.abs() > allowed
    if bool(over.any()):
        return _describe("an element is off", got, oracle, over, error.abs() / allowed)
    return _compare_overall(got, oracle, error, truth, budget)


def _compare_overall(
    got: torch.Tensor, oracle: torch.Tensor, error: torch.Tensor, truth: torch.Tensor, budget: Tolerance
) -> Mismatch | None:
    """The criteria on the whole, which catch what no element shows by itself."""
    limit, scale = budget.limit, budget.scale
    worst = error.abs()
    everything = torch.ones_like(worst, dtype=torch.bool)
    if (rms := _rms(error) / scale) > limit:
        return _describe(f"the error as a whole is {rms:.2e} of the output's scale", got, oracle, everything, worst)
    if (mean := abs(float(error.mean())) / scale) > _MEAN_FACTOR * limit and error.numel() > 1:
        return _describe(f"the error has a mean of {mean:.2e} of the output's scale", got, oracle, everything, worst)
    for dim in range(error.dim()):
        others = [d for d in range(error.dim()) if d != dim]
        square = error.square().mean(dim=others) if others else error.square()
        reach = truth.square().mean(dim=others) if others else truth.square()
        allowed = _SLICE_FACTOR * limit * torch.clamp(reach.sqrt(), min=scale)
        if bool((square.sqrt() > allowed).any()):
            at = int((square.sqrt() / allowed).argmax())
            return _describe(f"slice {at} of dimension {dim} is off as a whole", got, oracle, everything, worst)
    if got.numel() > 1 and bool((got == got.flatten()[0]).all()) and not bool((oracle == oracle.flatten()[0]).all()):
        return Mismatch(message="the output is constant and should not be", evidence={"got": float(got.flatten()[0])})
    return None


def _compare_exact(got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor) -> Mismatch | None:
    """Integers and booleans: equal to the oracle wherever eager is, since elsewhere rounding decides."""
    over = (eager == oracle) & (got != oracle)
    if not bool(over.any()):
        return None
    return _describe("an element differs", got, oracle, over, (got.double() - oracle.double()).abs())


def _compare_nonfinite(got: torch.Tensor, oracle: torch.Tensor, eager: torch.Tensor) -> Mismatch | None:
    """NaN and infinities stand where oracle and eager agree that they do, and nowhere else."""
    stray = torch.isfinite(oracle) & torch.isfinite(eager) & ~torch.isfinite(got)
    swallowed = ~torch.isfinite(oracle) & ~torch.isfinite(eager) & torch.isfinite(got)
    both_nan = oracle.isnan() & eager.isnan()
    same_infinity = oracle.isinf() & (oracle == eager.double())
    other = (both_nan & ~got.isnan()) | (same_infinity & (got.double() != oracle))
    for mask, text in (
        (stray, "NaN or infinity where the reference is finite"),
        (swallowed, "finite where the reference is not"),
        (other, "another infinity, or NaN, than the reference's"),
    ):
        if bool(mask.any()):
            found = _describe(text, got, oracle, mask, mask.double())
            return Mismatch(message=found.message, evidence={**found.evidence, "nonfinite": True})
    return None


def _describe(
    text: str, got: torch.Tensor, oracle: torch.Tensor, over: torch.Tensor, badness: torch.Tensor
) -> Mismatch:
    """Name the worst element, how many are off, and where they lie."""
    masked = torch.where(over, torch.nan_to_num(badness.double(), nan=math.inf, posinf=math.inf), -1.0)
    flat = int(masked.flatten().argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), got.shape)) if got.dim() else ()
    expected, came = float(oracle[index]), float(got[index])
    count, total = int(over.sum()), over.numel()
    pattern = _pattern(over) if count < total else ""
    message = f"{text}: at {list(index)} expected {expected:.7g}, got {came:.7g}; {count} of {total} elements{pattern}"
    evidence = {"index": list(index), "expected": _plain(expected), "got": _plain(came), "off": count, "total": total}
    return Mismatch(message=message, evidence={**evidence, "pattern": pattern.strip("; ")})


def _plain(value: float) -> float | str:
    """JSON has no NaN or infinity."""
    return value if math.isfinite(value) else str(value)


def _pattern(over: torch.Tensor) -> str:
    """Where the wrong elements lie, for each dimension they do not fill."""
    notes = []
    for dim in range(over.dim()):
        others = [d for d in range(over.dim()) if d != dim]
        hit = over.any(dim=others) if len(others) > 1 else (over.any(dim=others[0]) if others else over)
        places = hit.nonzero().flatten()
        if 0 < places.numel() < hit.numel():
            first, last = int(places[0]), int(places[-1])
            dense = "all of" if places.numel() == last - first + 1 else f"{places.numel()} within"
            notes.append(f"dimension {dim}: {dense} {first}..{last} of {hit.numel()}")
    return "; " + "; ".join(notes) if notes else ""
