"""The inputs and parameters a solution is judged on. Each case follows from secret seeds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kbench.judge.reference import Drawn, Reference

_SEED_BITS = 48


class SeedSource:
    """Secret seeds, all from one: the judge's own, never written where a worker could read it."""

    def __init__(self, master: int | None) -> None:
        self._random = random.SystemRandom() if master is None else random.Random(master)

    def next(self) -> int:
        """A fresh seed."""
        return self._random.getrandbits(_SEED_BITS)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Inputs and a full state (parameters and buffers by name) on the judged device."""

    name: str
    seed: int
    inputs: Drawn
    state: Mapping[str, torch.Tensor]


def make_case(reference: Reference, name: str, seed: int) -> Case:
    """The case `name` (of `CASE_NAMES`) under `seed`. Raises ProblemError."""
    drawn = reference.draw(seed)
    state = {key: value.detach().clone() for key, value in reference.model().state_dict().items()}
    if name != "as_given":
        state = randomise_state(state, seed)
    if name == "recentred":
        drawn = Drawn(template=drawn.template, tensors=tuple(_recentred(tensor) for tensor in drawn.tensors))
    if name == "scaled":
        drawn = Drawn(template=drawn.template, tensors=tuple(_scaled(tensor) for tensor in drawn.tensors))
    return Case(name=name, seed=seed, inputs=drawn, state=state)


CASE_NAMES = ("as_given", "randomised_parameters", "recentred", "scaled")
"""The problem's inputs with its own parameters; with randomised ones; and with inputs shifted, and scaled, as well."""


def randomise_state(state: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Move every floating parameter and buffer away from its initial value, half its own spread or more.

    What holds a variance (never negative, all at the same value, not trained) stays positive.
    """
    generator = torch.Generator().manual_seed(seed ^ 0x5EED)
    return {name: _randomised(name, tensor, generator) for name, tensor in state.items()}


def _randomised(name: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.clone()
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor.device)
    value = tensor.float()
    if name.rsplit(".", 1)[-1].endswith("var"):
        return (value * torch.exp(0.5 * noise)).to(tensor.dtype)
    spread = float(value.std()) if tensor.numel() > 1 else 0.0
    step = 0.5 * spread if spread > 1e-6 else 0.5 * max(float(value.abs().mean()), 0.5)
    return (value + step * noise).to(tensor.dtype)


def _recentred(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point() or tensor.numel() < 2:
        return tensor
    return tensor - tensor.mean(dtype=torch.float32).to(tensor.dtype)


def _scaled(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * 3 if tensor.is_floating_point() else tensor
