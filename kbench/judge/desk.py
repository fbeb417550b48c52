"""The judge's desk for one pair: the memory shared with its workers, and what is laid into it and taken out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from kbench import arena
from kbench.assignment import Setup
from kbench.judge.cases import Case
from kbench.judge.oracle import Expected, same_bytes
from kbench.judge.reference import CONSTRUCTION_SEED, Drawn, Reference
from kbench.layout import TensorSlot, dtype_name, is_dense, lay_out, shifted, view
from kbench.protocol import OutputForm

_POISON = 0xFF
"""A byte that makes NaN in every floating format and -1 in integers: an output nobody wrote shows."""
_ROLES = ("inputs", "state", "outputs", "state_out")
_RED_ZONE_BYTES = 1024
_GLIMPSED_BYTES = 4096
_MOST_SETS = 256
_CPU_SETS_BYTES = 128 << 20
_CUDA_SETS_SHARE = 1 / 8
"""Of the device's memory, for all sets of inputs and outputs together; two sets there are in any case."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer that need not be compared: its structure, shape, dtype is wrong, or it came late. Reason and words."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """Random bytes of the delivered outputs, read at the very moment that ended the window."""

    places: torch.Tensor
    values: torch.Tensor


class Desk:
    """Arenas laid out for one problem at one size. Both sides of a pair use the same ones, never at once.

    Inputs and outputs lie there in several sets, so that a sample may be several forwards, each on values of its own.
    Red zones lie around every input.
    """

    def __init__(self, reference: Reference, case: Case, expected: Expected) -> None:
        """Allocate for inputs and state as in `case` and outputs as `expected`. Raises InfraError."""
        self._device = reference.device
        self._reference = reference
        self._template: Any = case.inputs.template
        self._input_slots, self._input_stride = lay_out(case.inputs.tensors, zone=_RED_ZONE_BYTES)
        slots, state_bytes = lay_out(case.state.values())
        self._state_slots: Mapping[str, TensorSlot] = dict(zip(case.state, slots, strict=True))
        self._output_slots, self._output_stride = lay_out(tensor.contiguous() for tensor in expected.eager)
        self.structure = expected.structure
        self.sets = _sets_that_fit(self._device, self._input_stride + self._output_stride)
        inputs_bytes, outputs_bytes = self.sets * self._input_stride, self.sets * self._output_stride
        self._sizes = dict(zip(_ROLES, (inputs_bytes, state_bytes, outputs_bytes, state_bytes), strict=True))
        self._arenas: dict[str, arena.Arena] = {}
        try:
            for role, size in self._sizes.items():
                self._arenas[role] = arena.create(size, self._device)
            self._arenas["inputs"].data.fill_(_POISON)
        except BaseException:
            self.close()
            raise

    @property
    def descriptors(self) -> list[int]:
        """The host memory to hand to a worker (on CUDA there is none: handles travel in the set-up)."""
        return [a.descriptor for a in self._arenas.values() if a.descriptor >= 0]

    @property
    def outputs(self) -> int:
        """How many tensors one call's output has."""
        return len(self._output_slots)

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
            sets=self.sets,
            input_stride=self._input_stride,
            output_stride=self._output_stride,
            arenas={role: (size, self._arenas[role].handle) for role, size in self._sizes.items()},
        )

    def put_inputs(self, sets: Sequence[Drawn]) -> None:
        """Lay new values at the inputs' places, and poison where outputs will be delivered.

        Raises ValueError when the values have another form than the first ones.
        """
        self._poison_outputs(len(sets))
        self._lay(sets, self._arenas["inputs"].data)

    def stage_inputs(self, sets: Sequence[Drawn]) -> torch.Tensor:
        """The same in two steps, the first: everything but the last copy, which `put_staged` makes in one stroke."""
        self._poison_outputs(len(sets))
        staged = torch.empty(len(sets) * self._input_stride, dtype=torch.uint8, device=self._device)
        for zone in self._zones(staged, len(sets)):
            zone.fill_(_POISON)
        self._lay(sets, staged)
        return staged

    def put_staged(self, staged: torch.Tensor) -> None:
        """Let the workers see what was staged. On CUDA it is only queued."""
        self._arenas["inputs"].data[: staged.numel()].copy_(staged)

    def _poison_outputs(self, calls: int) -> None:
        self._arenas["outputs"].data[: calls * self._output_stride].fill_(_POISON)

    def _lay(self, sets: Sequence[Drawn], memory: torch.Tensor) -> None:
        forms = [(slot.dtype, slot.shape) for slot in self._input_slots]
        for number, drawn in enumerate(sets):
            if forms != [(dtype_name(t.dtype), tuple(t.shape)) for t in drawn.tensors]:
                raise ValueError("get_inputs() gives other shapes or dtypes under another seed")
            for slot, tensor in zip(self._input_slots, drawn.tensors, strict=True):
                view(memory, shifted(slot, number * self._input_stride)).copy_(tensor)
        self._synchronize()

    def inputs_unchanged(self, sets: Sequence[Drawn]) -> bool:
        """Whether the inputs still hold, bit for bit, what was put there."""
        memory = self._arenas["inputs"].data
        return all(
            same_bytes(view(memory, shifted(slot, number * self._input_stride)), tensor)
            for number, drawn in enumerate(sets)
            for slot, tensor in zip(self._input_slots, drawn.tensors, strict=True)
        )

    def zones_intact(self) -> bool:
        """Whether nobody wrote between the inputs. What was found there is put right again."""
        zones = self._zones(self._arenas["inputs"].data, self.sets)
        intact = all(bool((zone == _POISON).all()) for zone in zones)
        if not intact:
            for zone in zones:
                zone.fill_(_POISON)
        return intact

    def _zones(self, memory: torch.Tensor, sets: int) -> list[torch.Tensor]:
        """Views of what lies between the inputs of so many sets in `memory`, in front of them and behind."""
        starts = [0, *(slot.offset + slot.span for slot in self._input_slots)]
        ends = [*(slot.offset for slot in self._input_slots), self._input_stride]
        rows = memory.view(sets, self._input_stride)
        return [rows[:, start:end] for start, end in zip(starts, ends, strict=True)]

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

    def aim(self, calls: int) -> torch.Tensor:
        """Places in the outputs of `calls` calls to glimpse at: fresh and secret."""
        within = calls * self._output_stride
        return torch.randint(within, (_GLIMPSED_BYTES,), device=self._device)

    def glimpse(self, places: torch.Tensor) -> Glimpse:
        """Read those bytes now. On CUDA this waits for the device to get round to it: that is part of the window."""
        memory = self._arenas["outputs"].data
        if self._device.type == "cpu":  # numpy needs no second thread: the worker's own may still spin on every core
            return Glimpse(places=places, values=torch.from_numpy(memory.numpy()[places.numpy()]))
        return Glimpse(places=places, values=memory[places].cpu())

    def take_outputs(
        self, structure: str, forms: Sequence[OutputForm], glimpse: Glimpse, *, calls: int
    ) -> Refusal | list[list[torch.Tensor]]:
        """Private copies of what was delivered, call by call, unless their form is wrong or they came late."""
        if (wrong := self._wrong_form(structure, forms)) is not None:
            return wrong
        copy = self._arenas["outputs"].data[: calls * self._output_stride].clone()
        slots = [
            dataclasses.replace(slot, strides=form.strides) if slot.span else slot
            for slot, form in zip(self._output_slots, forms, strict=True)
        ]
        if not torch.equal(copy[glimpse.places].cpu(), glimpse.values):
            said = "the output was still being written when the worker had answered: it came after the time was taken"
            return Refusal(reason="late_output", message=said)
        return [
            [view(copy, shifted(slot, number * self._output_stride)) for slot in slots] for number in range(calls)
        ]

    def _wrong_form(self, structure: str, forms: Sequence[OutputForm]) -> Refusal | None:
        if structure != self.structure or len(forms) != len(self._output_slots):
            said = f"the output is {structure[:200]} where {self.structure} is due (T: a tensor)"
            return Refusal(reason="structure", message=said)
        for number, (form, slot) in enumerate(zip(forms, self._output_slots, strict=True)):
            if form.shape != slot.shape:
                said = f"output {number} has shape {list(form.shape)} instead of {list(slot.shape)}"
                return Refusal(reason="shape", message=said)
            if form.dtype != slot.dtype:
                return Refusal(reason="dtype", message=f"output {number} is {form.dtype} instead of {slot.dtype}")
            if slot.span and not is_dense(form.shape, form.strides):
                return Refusal(reason="structure", message=f"output {number} was delivered with strides {form.strides}")
        return None

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


def _sets_that_fit(device: torch.device, bytes_per_set: int) -> int:
    room = float(_CPU_SETS_BYTES)
    if device.type == "cuda":
        room = torch.cuda.get_device_properties(device).total_memory * _CUDA_SETS_SHARE
    return max(2, min(_MOST_SETS, int(room // bytes_per_set)))
