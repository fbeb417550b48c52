"""One constructed module: its inputs in shared memory, its state, its calls, its timings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kbench import arena, protocol
from kbench.assignment import Setup
from kbench.layout import dtype_name, flatten_output, lay_out, put_together, view
from kbench.worker import state

_perf_counter_ns = time.perf_counter_ns
_SPIN_CYCLES_PER_NS = 2
"""`torch.cuda._sleep` counts SM cycles; 2 GHz is the fastest of today's clocks, so the backlog is never shorter."""


class StructureError(Exception):
    """The output holds something that is no tensor and no number."""


class Session:
    """The module under judgement and the memory around it."""

    def __init__(self, module: Any, setup: Setup, memory: Mapping[str, torch.Tensor]) -> None:
        self._module = module
        self._call: Any = torch.compile(module, mode=setup.compile_mode) if setup.compile_mode else module
        self._setup = setup
        self._memory = memory
        tensors = [view(memory["inputs"], slot) for slot in setup.input_slots]
        self._inputs = put_together(setup.template, tensors)
        self._on_cuda = setup.device.startswith("cuda")
        self._last: Any = None
        self._has_output = False

    @classmethod
    def construct(cls, module_class: Any, setup: Setup, descriptors: Sequence[int]) -> Session:
        """Construct the module, move it, check its names. Raises what the constructor raises, ParameterMismatch."""
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
        return cls(module, setup, _map_arenas(setup, descriptors))

    def set_state(self) -> None:
        """Take over the parameters and buffers that the judge put into shared memory."""
        state.read_into(self._module, self._setup.state_slots, self._memory["state"])
        self._synchronize()

    def get_state(self) -> None:
        """Show the judge our parameters and buffers."""
        state.write_from(self._module, self._setup.state_slots, self._memory["state_out"])
        self._synchronize()

    def call(self) -> None:
        """One forward on the inputs as they lie there now."""
        with torch.no_grad():
            self._last = self._call(*self._inputs)
        self._has_output = True
        self._synchronize()

    def sample(self, calls: int, backlog_ns: int) -> tuple[float, float]:
        """Time `calls` forwards together. Returns nanoseconds by the precise clock, and until all were enqueued."""
        self._last = None
        timed = self._sample_cuda if self._on_cuda else self._sample_cpu
        with torch.no_grad():
            result = timed(calls, backlog_ns)
        self._has_output = True
        return result

    def _sample_cpu(self, calls: int, _: int) -> tuple[float, float]:
        call, inputs = self._call, self._inputs
        out = None
        start = _perf_counter_ns()
        for _ in range(calls):
            out = call(*inputs)
        end = _perf_counter_ns()
        self._last = out
        return float(end - start), float(end - start)

    def _sample_cuda(self, calls: int, backlog_ns: int) -> tuple[float, float]:
        call, inputs = self._call, self._inputs
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        out = None
        torch.cuda._sleep(backlog_ns * _SPIN_CYCLES_PER_NS)
        begun = _perf_counter_ns()
        start.record()
        for _ in range(calls):
            out = call(*inputs)
        end.record()
        enqueued = _perf_counter_ns()
        torch.cuda.synchronize()
        self._last = out
        return start.elapsed_time(end) * 1e6, float(enqueued - begun)

    def outputs(self) -> bytes:
        """Lay the last output into shared memory, where it fits, and say what it is. Raises StructureError."""
        if not self._has_output:
            raise RuntimeError("no call was made whose output could be shown")
        try:
            structure, tensors = flatten_output(self._last)
        except TypeError as error:
            raise StructureError(str(error)) from error
        except RecursionError as error:
            raise StructureError("an output is nested too deeply, or holds itself") from error
        tensors = [tensor.detach().contiguous() for tensor in tensors]
        slots, needed = lay_out(tensors)
        memory = self._memory["outputs"]
        if needed <= memory.numel():
            for tensor, slot in zip(tensors, slots, strict=True):
                view(memory, slot).copy_(tensor)
        self._synchronize()
        forms = [protocol.OutputForm(dtype=dtype_name(t.dtype), shape=tuple(t.shape)) for t in tensors]
        return protocol.pack_outputs(structure, forms[: protocol.MAX_OUTPUTS])

    def _synchronize(self) -> None:
        if self._on_cuda:
            torch.cuda.synchronize()


def _map_arenas(setup: Setup, descriptors: Sequence[int]) -> dict[str, torch.Tensor]:
    memory = {}
    for position, (name, (size, handle)) in enumerate(setup.arenas.items()):
        if handle:
            memory[name] = arena.map_cuda(handle, size, torch.device(setup.device))
        else:
            memory[name] = arena.map_host(descriptors[position], size)
    return memory
