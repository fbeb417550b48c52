"""Parameters and buffers by name, through shared memory."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from kbench.layout import TensorSlot, lay_out, view
from kbench.worker.state import ParameterMismatch, check_names, read_into, write_from


def slots_of(module: nn.Module) -> tuple[Mapping[str, TensorSlot], torch.Tensor]:
    state = module.state_dict()
    slots, size = lay_out(state.values())
    return dict(zip(state, slots, strict=True)), torch.zeros(size, dtype=torch.uint8)


def test_the_same_names_and_forms_are_accepted_in_any_order() -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3))
            self.weight = nn.Parameter(torch.zeros(3, 2))

    slots, _ = slots_of(nn.Linear(2, 3))
    check_names(Swapped(), slots)


@pytest.mark.parametrize(
    ("module", "complaints"),
    [
        (nn.Linear(2, 3, bias=False), ["missing bias"]),
        (nn.BatchNorm1d(3), ["unexpected running_mean, running_var, num_batches_tracked", "weight is float32 (3,)"]),
        (nn.Linear(3, 2), ["weight is float32 (2, 3) instead of float32 (3, 2)", "bias is float32 (2,)"]),
        (nn.Linear(2, 3).double(), ["weight is float64 (3, 2) instead of float32 (3, 2)"]),
        (nn.Sequential(nn.Linear(2, 3)), ["missing weight, bias", "unexpected 0.weight, 0.bias"]),
    ],
)
def test_every_difference_is_named(module: nn.Module, complaints: list[str]) -> None:
    slots, _ = slots_of(nn.Linear(2, 3))
    with pytest.raises(ParameterMismatch) as mismatch:
        check_names(module, slots)
    assert all(complaint in str(mismatch.value) for complaint in complaints)


def test_state_is_taken_over_in_place_and_shown_again() -> None:
    module = nn.BatchNorm1d(4)
    slots, memory = slots_of(module)
    addresses = [tensor.data_ptr() for tensor in module.state_dict().values()]
    versions = [tensor._version for tensor in module.state_dict().values()]
    for number, slot in enumerate(slots.values()):
        view(memory, slot).fill_(number + 1)
    read_into(module, slots, memory)
    assert [int(tensor.flatten()[0]) for tensor in module.state_dict().values()] == [1, 2, 3, 4, 5]
    assert [tensor.data_ptr() for tensor in module.state_dict().values()] == addresses
    after = [tensor._version for tensor in module.state_dict().values()]
    assert all(new > old for new, old in zip(after, versions, strict=True))  # a module that prepacks can tell
    shown = torch.zeros_like(memory)
    write_from(module, slots, shown)
    assert torch.equal(shown, memory)


def test_state_that_changed_its_form_is_not_shown() -> None:
    module = nn.Linear(2, 3)
    slots, memory = slots_of(module)
    del module.bias
    with pytest.raises(ParameterMismatch, match="missing bias"):
        write_from(module, slots, memory)
