"""The judge's desk for one pair: the memory shared with its workers, and the calls that go through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from kbench import arena
from kbench.assignment import Setup
from kbench.judge.cases import Case
from kbench.judge.oracle import Expected, same_bytes
from kbench.judge.reference import CONSTRUCTION_SEED, Drawn, Reference
from kbench.layout import TensorSlot, dtype_name, lay_out, view
from kbench.protocol import OutputForm
from kbench.remote.link import WorkerLink

_POISON = 0xFF
"""A byte that makes NaN in every floating format and -1 in integers: an output nobody wrote shows."""
_ROLES = ("inputs", "state", "outputs", "state_out")


@dataclass(frozen=True, kw_only=True)
class FormMismatch:
    """An answer of the wrong structure, shape or dtype: which, and in words."""

    reason: str
    message: str


class Desk:
    """Arenas laid out for one problem at one size. Both sides of a pair use the same ones, never at once."""

    def __init__(self, reference: Reference, case: Case, expected: Expected) -> None:
        """Allocate for inputs and state as in `case` and outputs as `expected`. Raises InfraError."""
        self._device = reference.device
        self._reference = reference
        self._template: Any = case.inputs.template
        self._input_slots, inputs_bytes = lay_out(case.inputs.tensors)
        slots, state_bytes = lay_out(case.state.values())
        self._state_slots: Mapping[str, TensorSlot] = dict(zip(case.state, slots, strict=True))
        self._output_slots, outputs_bytes = lay_out(tensor.contiguous() for tensor in expected.eager)
        self.structure = expected.structure
        self._sizes = dict(zip(_ROLES, (inputs_bytes, state_bytes, outputs_bytes, state_bytes), strict=True))
        self._arenas: dict[str, arena.Arena] = {}
        try:
            for role, size in self._sizes.items():
                self._arenas[role] = arena.create(size, self._device)
        except BaseException:
            self.close()
            raise

    @property
    def descriptors(self) -> list[int]:
        """The host arenas to hand to a worker (none on CUDA, where handles travel in the set-up)."""
        return [a.descriptor for a in self._arenas.values() if a.descriptor >= 0]

    def setup(self, *, mode: str | None, compile_mode: str | None = None) -> Setup:
        """What a worker of either side is told."""
        dtype = self._reference.dtype
        return Setup(
            device=str(self._device),
            init_inputs=self._reference.init_inputs,
            seed=CONSTRUCTION_SEED,
            mode=mode,
            dtype=None if dtype is None else dtype_name(dtype),
            compile_mode=compile_mode,
            template=self._template,
            input_slots=self._input_slots,
            state_slots=self._state_slots,
            arenas={role: (self._sizes[role], self._arenas[role].handle) for role in _ROLES},
        )

    def put_inputs(self, drawn: Drawn) -> None:
        """Lay new values at the inputs' places. Raises ValueError when they have another form than the first ones."""
        forms = [(slot.dtype, slot.shape) for slot in self._input_slots]
        if forms != [(dtype_name(t.dtype), tuple(t.shape)) for t in drawn.tensors]:
            raise ValueError("get_inputs() gives other shapes or dtypes under another seed")
        memory = self._arenas["inputs"].data
        for slot, tensor in zip(self._input_slots, drawn.tensors, strict=True):
            view(memory, slot).copy_(tensor)
        self._synchronize()

    def inputs_unchanged(self, drawn: Drawn) -> bool:
        """Whether the inputs still hold, bit for bit, what was put there."""
        memory = self._arenas["inputs"].data
        return all(same_bytes(view(memory, s), t) for s, t in zip(self._input_slots, drawn.tensors, strict=True))

    def spoil_inputs(self) -> None:
        """Overwrite the inputs, so that an output that was only promised cannot be computed from them any more."""
        self._arenas["inputs"].data.fill_(_POISON)
        self._synchronize()

    def put_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Lay parameters and buffers out for the worker to take."""
        memory = self._arenas["state"].data
        for name, tensor in state.items():
            view(memory, self._state_slots[name]).copy_(tensor)
        self._synchronize()

    def take_state(self) -> dict[str, torch.Tensor]:
        """A private copy of the state that the worker showed."""
        memory = self._arenas["state_out"].data
        return {name: view(memory, slot).clone() for name, slot in self._state_slots.items()}

    def call(self, link: WorkerLink) -> FormMismatch | list[torch.Tensor]:
        """One forward on the inputs that lie there; private copies of its outputs. Raises WorkerFailed."""
        self._poison()
        return self._take(*link.call(expected=len(self._output_slots), structure=self.structure))

    def fetch(self, link: WorkerLink) -> FormMismatch | list[torch.Tensor]:
        """Private copies of the last timed call's outputs. Raises WorkerFailed."""
        self._poison()
        return self._take(*link.fetch(expected=len(self._output_slots), structure=self.structure))

    def _poison(self) -> None:
        self._arenas["outputs"].data.fill_(_POISON)
        self._synchronize()

    def _take(self, structure: str, forms: tuple[OutputForm, ...]) -> FormMismatch | list[torch.Tensor]:
        if structure != self.structure or len(forms) != len(self._output_slots):
            return FormMismatch(
                reason="structure",
                message=f"the output is {structure[:200]} where {self.structure} is due (T: a tensor)",
            )
        for number, (form, slot) in enumerate(zip(forms, self._output_slots, strict=True)):
            if form.shape != slot.shape:
                said = f"output {number} has shape {list(form.shape)} instead of {list(slot.shape)}"
                return FormMismatch(reason="shape", message=said)
            if form.dtype != slot.dtype:
                return FormMismatch(reason="dtype", message=f"output {number} is {form.dtype} instead of {slot.dtype}")
        memory = self._arenas["outputs"].data
        return [view(memory, slot).clone() for slot in self._output_slots]

    def bytes_moved(self) -> int:
        """The least bytes of one call: every input, parameter, buffer and output once."""
        slots = (*self._input_slots, *self._state_slots.values(), *self._output_slots)
        return sum(slot.span for slot in slots)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Give the shared memory back. Only after the workers are gone."""
        self._synchronize()
        while self._arenas:
            self._arenas.popitem()[1].close()

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
