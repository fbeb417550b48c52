"""One constructed module in a worker: its inputs, its state, and samples of its forward.

There is one way to be called, so that warm-up, judging and timing look alike from here: a number of forwards in a
row, each on a set of inputs of its own, and then all their outputs into the judge's memory.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from typing import Any

import torch

from kbench import arena
from kbench.assignment import Setup
from kbench.layout import (
    TensorSlot,
    flat_view,
    flatten_output,
    is_dense,
    lay_out,
    put_together,
    shifted,
    view,
)
from kbench.page import Page
from kbench.protocol import Answer, OutputForm
from kbench.worker import state

_perf_counter_ns = time.perf_counter_ns
_POISON = 0xFF
"""NaN in every floating format: memory that a forward gets and does not write shows."""


class StructureError(Exception):
    """An output is no tensor, or calls of one sample differ in form."""


class WrongDevice(Exception):
    """An output lies elsewhere than the inputs."""


class Session:
    """The module under judgement and the memory around it."""

    def __init__(self, module: Any, setup: Setup, memory: dict[str, torch.Tensor], page: Page | None) -> None:
        self._module = module
        self._call: Any = torch.compile(module, mode=setup.compile_mode) if setup.compile_mode else module
        self._setup = setup
        self._memory = memory
        self._page = page
        self._device = torch.device(setup.device)
        self._sets = [self._inputs_of(number) for number in range(setup.sets)]
        self._form: tuple[TensorSlot, ...] = ()
        self._fits = False
        self._places: dict[int, list[torch.Tensor]] = {}
        self._cores: set[int] = set()
        """Those that were ours before we went to wait on one of them."""

    def _inputs_of(self, number: int) -> Any:
        offset = number * self._setup.input_stride
        tensors = [view(self._memory["inputs"], shifted(slot, offset)) for slot in self._setup.input_slots]
        return put_together(self._setup.template, tensors)

    @classmethod
    def construct(
        cls, module_class: Any, setup: Setup, descriptors: Sequence[int], page: Page | None = None
    ) -> Session:
        """Construct the module, move it, check its names. Raises what the constructor raises, ParameterMismatch.

        `descriptors` are the host arenas, `page` is the judge's where there is one.
        """
        if setup.device.startswith("cuda"):
            torch.cuda.set_device(torch.device(setup.device))
        torch.manual_seed(setup.seed)
        module = module_class(*setup.init_inputs)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"the class makes a {type(module).__name__}, not a torch.nn.Module")
        module = module.to(torch.device(setup.device))
        if setup.dtype is not None:
            module = module.to(getattr(torch, setup.dtype))
        if setup.mode is not None:
            module.train(setup.mode == "train")
        state.check_names(module, setup.state_slots)
        return cls(module, setup, _map_arenas(setup, descriptors), page)

    def close(self) -> None:
        """Let go of the module and of the memory."""
        self._synchronize()
        self._module = self._call = None
        self._sets, self._places = [], {}
        while self._memory:
            mapped = self._memory.popitem()[1]
            if mapped.is_cuda:
                arena.unmap_cuda(mapped)
        if self._device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    def set_state(self) -> None:
        """Take over the parameters and buffers that the judge put into shared memory."""
        state.read_into(self._module, self._setup.state_slots, self._memory["state"])
        self._synchronize()

    def get_state(self) -> None:
        """Show the judge our parameters and buffers."""
        state.write_from(self._module, self._setup.state_slots, self._memory["state_out"])
        self._synchronize()

    def prepare(self, calls: int) -> None:
        """Leave poison in the blocks that the outputs of so many calls are likely to be given."""
        blocks = [
            torch.empty(slot.span, dtype=torch.uint8, device=self._device).fill_(_POISON)
            for _ in range(calls)
            for slot in self._form
        ]
        del blocks
        self._synchronize()
        if self._page is None:
            self._wait_on_the_first_core()

    def _wait_on_the_first_core(self) -> None:
        """The threads of our OpenMP spin on the others, each on its own. Woken anywhere, we would be put beside the
        judge that wakes us and one that spins, and wait there for up to 4 ms until we have our turn (measured)."""
        self._cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(self._cores)})

    def sample(self, calls: int, gate: int) -> Answer:
        """`calls` forwards, timed together, their outputs delivered. Raises StructureError, WrongDevice."""
        with torch.no_grad():
            return self._run_by_the_wall(calls) if self._page is None or not gate else self._run_behind(gate, calls)

    def _run_by_the_wall(self, calls: int) -> Answer:
        """Timed by the host's clock, from the first call until all their work is done."""
        call, sets, outputs = self._call, self._sets, []
        self._synchronize()
        if self._cores:
            os.sched_setaffinity(0, self._cores)  # what the module starts is bound to nothing
        start = _perf_counter_ns()
        for number in range(calls):
            outputs.append(call(*sets[number]))
        enqueued = _perf_counter_ns()
        self._synchronize()
        done = _perf_counter_ns()
        structure, forms = self._deliver(outputs)
        self._synchronize()
        return Answer(
            total_ns=float(done - start), enqueue_ns=float(enqueued - start), structure=structure, forms=forms
        )

    def _run_behind(self, gate: int, calls: int) -> Answer:
        """Timed by CUDA events, all of it enqueued before the judge opens the gate: the host has no part in it."""
        assert self._page is not None
        call, sets, outputs = self._call, self._sets, []
        stream = torch.cuda.default_stream(self._device)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._page.hold(stream.cuda_stream, gate)
        start = _perf_counter_ns()
        begin.record(stream)
        for number in range(calls):
            outputs.append(call(*sets[number]))
        end.record(stream)
        enqueue_ns = float(_perf_counter_ns() - start)
        with torch.cuda.stream(stream):
            structure, forms = self._deliver(outputs)
        self._page.say_queued(gate)
        torch.cuda.synchronize()
        self._page.say_done(gate)
        return Answer(
            total_ns=begin.elapsed_time(end) * 1e6, enqueue_ns=enqueue_ns, structure=structure, forms=forms
        )

    def _deliver(self, outputs: Sequence[Any]) -> tuple[str, tuple[OutputForm, ...]]:
        """Copy every call's output to its place in shared memory, where it fits; say what form they all have."""
        structure, forms = "", None
        for number, output in enumerate(outputs):
            own_structure, tensors = self._taken_apart(output)
            own_forms = [(tensor.dtype, tensor.shape, tensor.stride()) for tensor in tensors]
            if forms is None:
                structure, forms = own_structure, own_forms
                self._lay_out(tensors)
            elif (structure, forms) != (own_structure, own_forms):
                raise StructureError(f"call {number + 1} in a row returned another form of output than the first")
            if self._fits:
                for tensor, place in zip(tensors, self._places_of(number), strict=True):
                    place.copy_(_flat(tensor))
        if forms is None:
            raise StructureError("a sample of no calls has no output")
        return structure, tuple(OutputForm(dtype=s.dtype, shape=s.shape, strides=s.strides) for s in self._form)

    def _lay_out(self, tensors: Sequence[torch.Tensor]) -> None:
        slots, needed = lay_out(tensors)
        if slots != self._form:
            self._form, self._fits, self._places = slots, needed <= self._setup.output_stride, {}

    def _places_of(self, number: int) -> list[torch.Tensor]:
        """Where the n-th call's output goes, each tensor flat."""
        if number not in self._places:
            offset = number * self._setup.output_stride
            self._places[number] = [flat_view(self._memory["outputs"], shifted(slot, offset)) for slot in self._form]
        return self._places[number]

    def _taken_apart(self, output: Any) -> tuple[str, list[torch.Tensor]]:
        try:
            structure, tensors = flatten_output(output)
        except TypeError as error:
            raise StructureError(str(error)) from error
        except RecursionError as error:
            raise StructureError("an output is nested too deeply, or holds itself") from error
        for number, tensor in enumerate(tensors):
            if tensor.layout is not torch.strided:
                raise StructureError(f"output {number} is {tensor.layout}, not a dense tensor")
            if tensor.device != self._device and tensor.dim() > 0:  # torch takes 0-dim CPU tensors for numbers
                raise WrongDevice(f"output {number} lies on {tensor.device} instead of {self._device}")
        return structure, [tensor.detach().resolve_conj().resolve_neg() for tensor in tensors]

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """The elements in the order they lie in memory; a tensor with holes is packed first."""
    if not is_dense(tuple(tensor.shape), tuple(tensor.stride())):
        tensor = tensor.contiguous()
    return tensor.as_strided((tensor.numel(),), (1,))


def _map_arenas(setup: Setup, descriptors: Sequence[int]) -> dict[str, torch.Tensor]:
    host = iter(descriptors)
    device = torch.device(setup.device)
    return {
        name: arena.map_cuda(handle, size, device) if handle else arena.map_host(next(host), size)
        for name, (size, handle) in setup.arenas.items()
    }
