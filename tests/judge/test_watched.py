"""What a forward calls and computes, as it is seen operator by operator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from kbench.judge.watched import Watch, operators


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.ones(4, 5) @ torch.ones(5, 6),
        lambda: functional.conv2d(torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3), torch.ones(4), stride=2),
        lambda: functional.conv_transpose2d(torch.ones(2, 3, 8, 8), torch.ones(3, 4, 3, 3)),
        lambda: torch.baddbmm(torch.ones(2, 3, 3), torch.ones(2, 3, 4), torch.ones(2, 4, 3)),
        lambda: torch.einsum("bik,bkj->bij", torch.ones(2, 3, 4), torch.ones(2, 4, 5)).exp(),
    ],
)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_operations_are_those_that_torch_counts(
    call: Callable[[], object], mode: Callable[[], torch.no_grad | torch.inference_mode]
) -> None:
    with mode(), FlopCounterMode(display=False) as counter:
        call()
    with mode(), Watch() as watch:
        call()
    assert watch.flops == counter.get_total_flops() > 0


def test_attention_is_counted_as_torch_counts_it() -> None:
    """On the CPU not at all: its kernel has no count."""
    attention = functional.scaled_dot_product_attention
    with FlopCounterMode(display=False) as counter, Watch() as watch:
        attention(*torch.ones(3, 2, 4, 16, 8))
    assert watch.flops == counter.get_total_flops()


def test_nothing_is_counted_for_what_only_moves_or_adds() -> None:
    with Watch() as watch:
        torch.ones(8).add(1).sort()
    assert watch.flops == 0 and {"add", "sort"} <= watch.names


def test_a_control_flow_operator_is_passed_on() -> None:
    with Watch() as watch:
        torch.cond(torch.tensor(True), torch.sin, torch.cos, (torch.ones(3),))
    assert "cond" in watch.names


def test_operators_of_a_module() -> None:
    names = operators(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()), [torch.ones(2, 3)])
    assert {"addmm", "relu"} <= names


def test_watching_imports_no_compiler() -> None:
    program = """
import sys, torch
from kbench.judge.watched import Watch, operators
operators(torch.nn.Linear(3, 4), [torch.ones(2, 3)])
with Watch() as watch:
    torch.ones(2, 3) @ torch.ones(3, 4)
assert watch.flops == 2 * 2 * 3 * 4
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
