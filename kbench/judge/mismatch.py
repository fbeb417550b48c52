"""What is said of an output that was not accepted: the worst element, its error and budget, and where errors lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch

_LEAST_FOR_STEP = 3
"""Places that make an evenly spaced pattern; any two are evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Why an output was not accepted, with the evidence."""

    message: str
    evidence: Mapping[str, Any]


def describe(text: str, got: torch.Tensor, oracle: torch.Tensor, over: torch.Tensor, badness: torch.Tensor) -> Mismatch:
    """Name the element of `over` with the largest `badness`, how many are off, and where they lie."""
    flat = int(torch.where(over, badness.nan_to_num(nan=math.inf, posinf=math.inf), -1.0).flatten().argmax())
    index = tuple(int(i) for i in numpy.unravel_index(flat, got.shape))  # torch's own imports sympy first: 2.4 s
    expected, came = float(oracle[index]), float(got[index])
    count, total = int(over.sum()), over.numel()
    where = pattern(over) if count < total else ""
    message = f"{text}: at {list(index)} expected {expected:.7g}, got {came:.7g}; {count} of {total} elements"
    evidence = {
        "index": list(index),
        "expected": plain(expected),
        "got": plain(came),
        "error": plain(abs(came - expected)),
        "off": count,
        "total": total,
        "pattern": where,
    }
    return Mismatch(message=f"{message}; {where}" if where else message, evidence=evidence)


def with_evidence(mismatch: Mismatch, **more: Any) -> Mismatch:
    """The same mismatch with more evidence."""
    return Mismatch(message=mismatch.message, evidence={**mismatch.evidence, **more})


def plain(value: float) -> float | str:
    """JSON has no NaN or infinity."""
    return value if math.isfinite(value) else str(value)


def pattern(over: torch.Tensor) -> str:
    """Where the wrong elements lie, for each dimension they do not fill; a tail of the memory, where they are one."""
    notes = []
    for dim in range(over.dim()):
        others = [d for d in range(over.dim()) if d != dim]
        hit = over.any(dim=others) if len(others) > 1 else (over.any(dim=others[0]) if others else over)
        places = hit.nonzero().flatten()
        if 0 < places.numel() < hit.numel():
            notes.append(f"dimension {dim}: {_places(places, hit.numel())}")
    if over.dim() > 1 and (tail := _tail(over)):
        notes.append(f"the last {tail} in memory order")
    return "; ".join(notes)


def _places(places: torch.Tensor, size: int) -> str:
    count, first, last = places.numel(), int(places[0]), int(places[-1])
    if count == 1:
        return f"only {first} of {size}"
    if count == last - first + 1:
        return f"the tail {first}..{last} of {size}" if last == size - 1 else f"all of {first}..{last} of {size}"
    steps = places.diff()
    step = int(steps[0])
    if count >= _LEAST_FOR_STEP and bool((steps == step).all()):
        throughout = first < step and last + step >= size
        return f"every {_ordinal(step)} from {first}" + ("" if throughout else f" to {last}") + f" of {size}"
    return f"{count} within {first}..{last} of {size}"


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _tail(over: torch.Tensor) -> int:
    """How many elements the tail has, or 0 where the wrong ones are no tail, or all."""
    flat = over.flatten()
    first, count = int(flat.byte().argmax()), int(flat.sum())
    return count if 0 < first == flat.numel() - count else 0
