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
_SMALL = 2.0**-4
"""At most this, and at least half of it: variances come near enough to the eps of 1e-5 that norm layers add.

Smaller still, and a bias before a norm layer drowns the inputs: an honest variance in one pass would cancel.
"""
_TAIL_SIGMA, _TAIL_LIMIT = 1.2, 64.0
_ZEROS_SHARE = 0.25
_TIED_BEYOND = 1.5
"""Standard deviations from the mean: an eighth of normal or uniform values lies beyond and is cut to just that."""
_MASKED_OUT = -1e4
_LEAST_FOR_NONFINITE = 16

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
    """Rare large values. Every other sample is all negative, which a maximum that starts from 0 does not survive."""
    if tensor.numel() < 2:
        return tensor
    noise = torch.randn(tensor.shape, generator=generator, device=tensor.device)
    made = tensor * noise.mul_(_TAIL_SIGMA).exp_().clamp_(1 / _TAIL_LIMIT, _TAIL_LIMIT)
    if tensor.dim() > 1:
        made[1::2] = -made[1::2].abs()
    return made


def _ties(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Equal values at both ends, so that extremes are tied, and exact zeros among the rest."""
    if tensor.numel() < 2:
        return tensor
    spread, mean = (float(value) for value in torch.std_mean(_finite(tensor).float()))
    kept = torch.rand(tensor.shape, generator=generator, device=tensor.device) >= _ZEROS_SHARE
    return tensor.clamp(mean - _TIED_BEYOND * spread, mean + _TIED_BEYOND * spread) * kept


def _nonfinite(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One NaN and one infinity of each sign in one sample (index of the first dimension), and a NaN in another.

    In a sample of its own an infinity has no one honest answer: a softmax by way of the logarithm gives 0 where another
    gives NaN, and a fast convolution's transform makes NaN of what a sigmoid would have brought back to 1.
    """
    if tensor.numel() < _LEAST_FOR_NONFINITE:
        return tensor
    made = tensor.clone(memory_format=torch.contiguous_format)
    first = _index_below(made.shape[0], generator)
    sample = made[first].view(-1) if made.dim() > 1 else made
    for value in (math.inf, -math.inf, math.nan):  # NaN last: should two fall on one place, it is there
        sample[_index_below(sample.numel(), generator)] = value
    if made.dim() > 1 and made.shape[0] > 2:
        other = made[(first + 1) % made.shape[0]].view(-1)
        other[_index_below(other.numel(), generator)] = math.nan
    return made


def _index_below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(0, count, (), generator=generator, device=generator.device))


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
