"""What the families of cases do to one tensor of inputs. Everything follows from a generator.

Left alone are integers, booleans, complex numbers and masks (nothing but 0, 1 and very negative numbers). Infinities
that the problem itself put there stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

_LARGE = 256.0
"""Above this, half of it and more: `exp` overflows fp32 at 88.7, so a softmax must subtract the largest."""
_SMALL = 2.0**-6
"""At most this, and at least half of it: variances come near the eps of 1e-5 that norm layers add.

Smaller still, and a bias before a norm layer drowns the inputs: an honest variance in one pass would cancel.
"""
_TAIL_SIGMA, _TAIL_LIMIT = 1.2, 64.0
_ZEROS_SHARE = 0.25
_MASKED_OUT = -1e4
_LEAST_FOR_NONFINITE = 16
_MANY_SAMPLES = 8

Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def changed(name: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """`tensor` as the family `name` has it; the same shape, dtype and device."""
    change = _CHANGES.get(name)
    if change is None or not tensor.is_floating_point() or tensor.numel() == 0 or is_mask(tensor):
        return tensor
    made = change(tensor, generator).to(tensor.dtype)
    finite = tensor.isfinite()
    return made if bool(finite.all()) else torch.where(finite, made, tensor)


def is_mask(tensor: torch.Tensor) -> bool:
    """Whether a floating tensor says only yes or no: 0 and 1, or what is added to the scores of an attention."""
    return bool(((tensor == 0) | (tensor == 1) | (tensor <= _MASKED_OUT)).all())


def small_integers(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Any of -2, -1, 1, 2 (halves: -1, 1), never 0: then no term of a sum of products can be left out unnoticed."""
    largest = 2 if tensor.dtype.itemsize > 2 else 1
    size = torch.randint(1, largest + 1, tensor.shape, generator=generator, device=tensor.device)
    sign = torch.randint(0, 2, tensor.shape, generator=generator, device=tensor.device) * 2 - 1
    return (size * sign).to(tensor.dtype)


def _recentred(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    del generator
    if tensor.numel() < 2:  # a single number would become nothing
        return tensor
    return tensor - _finite(tensor).mean(dtype=torch.float32).to(tensor.dtype)


def _scaled_up(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    del generator
    return tensor * _factor(tensor, _LARGE, least=4.0)


def _scaled_down(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    del generator
    return tensor * _factor(tensor, _SMALL, most=0.25)


def _factor(tensor: torch.Tensor, target: float, *, least: float = 0.0, most: float = math.inf) -> float:
    """A power of two, which rounds nothing, that brings the largest magnitude into [target/2, target)."""
    largest = float(_finite(tensor).abs().max()) if tensor.numel() > 1 else 0.0
    if largest == 0.0:  # nothing there, or a single number, which is likely no sample of anything
        return 1.0
    return min(max(2.0 ** math.floor(math.log2(target / largest)), least), most)


def _heavy_tailed(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if tensor.numel() < 2:
        return tensor
    noise = torch.randn(tensor.shape, generator=generator, device=tensor.device)
    return tensor * noise.mul_(_TAIL_SIGMA).exp_().clamp_(1 / _TAIL_LIMIT, _TAIL_LIMIT)


def _ties(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if tensor.numel() < 2:
        return tensor
    unit = float(_finite(tensor).float().std()) or 1.0
    kept = torch.rand(tensor.shape, generator=generator, device=tensor.device) >= _ZEROS_SHARE
    return torch.round(tensor / unit) * unit * kept


def _nonfinite(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One NaN, one infinity of each sign; in one sample where there are few, so that others stay finite."""
    if tensor.numel() < _LEAST_FOR_NONFINITE:
        return tensor
    made = tensor.clone(memory_format=torch.contiguous_format)
    few = tensor.dim() > 1 and tensor.shape[0] < _MANY_SAMPLES
    chosen = int(torch.randint(0, made.shape[0], (), generator=generator, device=made.device)) if few else 0
    where = made[chosen].view(-1) if few else made.view(-1)
    for value in (math.nan, math.inf, -math.inf):
        where[torch.randint(0, where.numel(), (1,), generator=generator, device=made.device)] = value
    return made


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    finite = tensor.isfinite()
    return tensor if bool(finite.all()) else tensor[finite]


_CHANGES: dict[str, Change] = {
    "recentred": _recentred,
    "scaled_up": _scaled_up,
    "scaled_down": _scaled_down,
    "heavy_tailed": _heavy_tailed,
    "ties": _ties,
    "nonfinite": _nonfinite,
    "integers": small_integers,
}
