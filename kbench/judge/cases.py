"""The inputs and parameters a solution is judged on. Each case follows from secret seeds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kbench.judge.families import changed, small_integers
from kbench.judge.reference import Drawn, Reference

_SEED_BITS = 48
_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: its multiples lie far apart."""


class SeedSource:
    """Secret seeds, all from one: the judge's own, never written where a worker could read it."""

    def __init__(self, master: int | None) -> None:
        self._random = random.SystemRandom() if master is None else random.Random(master)

    def next(self) -> int:
        """A fresh seed."""
        return self._random.getrandbits(_SEED_BITS)


CASE_NAMES = (
    "as_given",
    "randomised_parameters",
    "recentred",
    "scaled_up",
    "scaled_down",
    "heavy_tailed",
    "ties",
    "nonfinite",
    "integers",
)
"""The problem's inputs with its own parameters; with randomised ones; and with changed inputs as well: shifted to a
mean of zero, scaled by powers of two, with rare large values, with many equal values and zeros, with a few NaN and
infinities, and (inputs and parameters) small integers."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Inputs and a full state (parameters and buffers by name) on the judged device.

    `seed` gives the inputs, `state_seed` the state; None where the state is as the problem's file makes it.
    """

    name: str
    seed: int
    inputs: Drawn
    state: Mapping[str, torch.Tensor]
    state_seed: int | None = None


def make_case(reference: Reference, name: str, seed: int, state_seed: int | None = None) -> Case:
    """The case `name` (of `CASE_NAMES`): inputs under `seed`, parameters under `state_seed`, by default the same.

    Raises ProblemError. Not every case suits every problem: `oracle.expect` says so.
    """
    drawn = reference.draw(seed)
    state = reference.initial_state()
    if name == "as_given":
        return Case(name=name, seed=seed, inputs=drawn, state=state)
    state_seed = seed if state_seed is None else state_seed
    tensors = tuple(changed(name, t, _generator(seed, i, t.device)) for i, t in enumerate(drawn.tensors))
    return Case(
        name=name,
        seed=seed,
        inputs=Drawn(template=drawn.template, tensors=tensors),
        state=integer_state(state, state_seed) if name == "integers" else randomise_state(state, state_seed),
        state_seed=state_seed,
    )


def randomise_state(state: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Move every floating parameter and buffer away from its initial value, half its own spread or more.

    What holds a variance (by its name) stays positive.
    """
    return {
        name: _randomised(name, tensor, _generator(seed, number, tensor.device))
        for number, (name, tensor) in enumerate(state.items())
    }


def integer_state(state: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Every floating parameter and buffer a small integer, never 0; a variance positive."""
    made = {}
    for number, (name, tensor) in enumerate(state.items()):
        whole = tensor.is_floating_point()
        value = small_integers(tensor, _generator(seed, number, tensor.device)) if whole else tensor.clone()
        made[name] = value.abs() if _holds_variance(name) else value
    return made


def _generator(seed: int, number: int, device: torch.device) -> torch.Generator:
    """One for the `number`-th tensor, apart from the problem's own generator under the same seed.

    Spread over all bits: the CPU's generator takes only the lowest 32 of a seed.
    """
    return torch.Generator(device=device).manual_seed(((seed ^ 0x5EED) + (number + 1) * _GOLDEN) % 2**63)


def _holds_variance(name: str) -> bool:
    return name.rsplit(".", 1)[-1].endswith("var")


def _randomised(name: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.clone()
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32, device=tensor.device)
    value = tensor.float()
    if _holds_variance(name):
        return (value * torch.exp(0.5 * noise)).to(tensor.dtype)
    spread = float(value.std()) if tensor.numel() > 1 else 0.0
    step = 0.5 * spread if spread > 1e-6 else 0.5 * max(float(value.abs().mean()), 0.5)
    return (value + step * noise).to(tensor.dtype)
