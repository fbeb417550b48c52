"""Set-ups for sessions that run in the test's own process, on host memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kbench import arena
from kbench.assignment import Setup
from kbench.layout import lay_out, shifted, take_apart, view


class Memory:
    """The four arenas of one pair, and what the judge would do with them. Every set begins with the same inputs."""

    def __init__(
        self, inputs: Sequence[Any], state: dict[str, torch.Tensor], outputs: Sequence[torch.Tensor], sets: int = 3
    ) -> None:
        self.sets = sets
        self.template, tensors = take_apart(list(inputs))
        self.input_slots, self.input_stride = lay_out(tensors)
        state_slots, state_size = lay_out(state.values())
        self.state_slots = dict(zip(state, state_slots, strict=True))
        self.output_slots, self.output_stride = lay_out(outputs)
        self.sizes = {
            "inputs": sets * self.input_stride, "state": state_size,
            "outputs": sets * self.output_stride, "state_out": state_size,
        }  # fmt: skip
        self.arenas = {name: arena.create(size, torch.device("cpu")) for name, size in self.sizes.items()}
        for number in range(sets):
            for slot, tensor in zip(self.input_slots, tensors, strict=True):
                view(self.arenas["inputs"].data, shifted(slot, number * self.input_stride)).copy_(tensor)
        for name, tensor in state.items():
            view(self.arenas["state"].data, self.state_slots[name]).copy_(tensor)

    @property
    def descriptors(self) -> list[int]:
        return [made.descriptor for made in self.arenas.values()]

    def setup(self, **changes: Any) -> Setup:
        basis: dict[str, Any] = {
            "device": "cpu", "init_inputs": [], "seed": 0, "mode": None, "dtype": None, "compile_mode": None,
            "template": self.template, "input_slots": self.input_slots, "state_slots": self.state_slots,
            "sets": self.sets, "input_stride": self.input_stride, "output_stride": self.output_stride,
            "arenas": {name: (size, "") for name, size in self.sizes.items()},
        }  # fmt: skip
        return Setup(**(basis | changes))

    def input(self, *, call: int = 0) -> torch.Tensor:
        """The first input of that call."""
        return view(self.arenas["inputs"].data, shifted(self.input_slots[0], call * self.input_stride))

    def output(self, number: int = 0, *, call: int = 0) -> torch.Tensor:
        return view(self.arenas["outputs"].data, shifted(self.output_slots[number], call * self.output_stride)).clone()

    def close(self) -> None:
        for made in self.arenas.values():
            made.close()
