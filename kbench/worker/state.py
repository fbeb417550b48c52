"""Parameters and buffers by name, between a module and the shared memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from kbench.layout import TensorSlot, dtype_name, view


class ParameterMismatch(Exception):
    """The module's parameters and buffers are not the reference's, name for name and shape for shape."""


def check_names(module: torch.nn.Module, slots: Mapping[str, TensorSlot]) -> None:
    """Raise ParameterMismatch unless `module` has exactly the parameters and buffers of `slots`."""
    own = module.state_dict()
    complaints = []
    if missing := [name for name in slots if name not in own]:
        complaints.append(f"missing {', '.join(missing)}")
    if extra := [name for name in own if name not in slots]:
        complaints.append(f"unexpected {', '.join(extra)}")
    for name, slot in slots.items():
        if name in own:
            form, expected = (dtype_name(own[name].dtype), tuple(own[name].shape)), (slot.dtype, slot.shape)
            if form != expected:
                complaints.append(f"{name} is {form[0]} {form[1]} instead of {expected[0]} {expected[1]}")
    if complaints:
        raise ParameterMismatch("the state_dict differs from the reference's: " + "; ".join(complaints))


def read_into(module: torch.nn.Module, slots: Mapping[str, TensorSlot], arena: torch.Tensor) -> None:
    """Copy the state that lies in `arena` into the module's own tensors, in place."""
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(view(arena, slots[name]))


def write_from(module: torch.nn.Module, slots: Mapping[str, TensorSlot], arena: torch.Tensor) -> None:
    """Copy the module's state into `arena`. Raises ParameterMismatch when it changed its form since."""
    check_names(module, slots)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            view(arena, slots[name]).copy_(tensor)
