"""Problems for the judge, small enough to be judged in milliseconds, and honest and dishonest answers to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from kbench.judge.judging import Question, check_answer
from kbench.judge.reference import Reference
from kbench.layout import flatten_output, put_together
from kbench.model import Problem, Verdict

State = Mapping[str, torch.Tensor]
Answer = Callable[..., Any]
"""From the state and the inputs to an output."""

_HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"


def write_problem(path: Path, source: str, **fields: Any) -> Problem:
    path.write_text(_HEAD + source)
    return Problem(id="p", path=path, sha="0", **fields)


def functional(forward: str, inputs: str) -> str:
    """A problem without parameters."""
    return (
        f"class Model(nn.Module):\n    def forward(self, x, *more):\n        return {forward}\n"
        f"def get_inputs():\n    return [{inputs}]\ndef get_init_inputs():\n    return []\n"
    )


def layered(layers: str, forward: str, inputs: str) -> str:
    """A problem with layers (assignments to self, `; ` between them)."""
    return (
        "class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        {layers}\n    def forward(self, x):\n        return {forward}\n"
        f"def get_inputs():\n    return [{inputs}]\ndef get_init_inputs():\n    return []\n"
    )


LINEAR = layered("self.l = nn.Linear(256, 32)", "self.l(x)", "torch.rand(32, 256)")
CONV_BN = layered(
    "self.conv = nn.Conv2d(4, 8, 3); self.bn = nn.BatchNorm2d(8)", "self.bn(self.conv(x))", "torch.rand(128, 4, 6, 6)"
)
SOFTMAX = functional("x.softmax(1)", "torch.rand(16, 1024)")
ROW_MEAN = functional("x.mean(1)", "torch.rand(64, 4096)")
GELU = functional("F.gelu(x)", "torch.randn(64, 128)")
LOSS = functional("F.mse_loss(x, more[0])", "torch.randn(64, 256), torch.randn(64, 256)")
ROW_SUM = functional("x.sum(1)", "torch.randn(32, 2048)")


def reference_of(path: Path, source: str, **fields: Any) -> Reference:
    problem = write_problem(path / "p.py", source, **fields)
    return Reference(problem, size="full", device=torch.device("cpu"))


def verdict_of(question: Question, answer: Answer) -> Verdict | None:
    """What the judge makes of `answer` to one question."""
    case = question.case
    inputs = put_together(case.inputs.template, [tensor.clone() for tensor in case.inputs.tensors])
    with torch.no_grad():
        _, tensors = flatten_output(answer(case.state, *inputs))
    return check_answer(tensors, question)


def blocked_sum(values: torch.Tensor, blocks: int) -> torch.Tensor:
    """Sums of the last dimension as a kernel makes them: one running sum a block, then the blocks one by one."""
    parts = values.reshape(*values.shape[:-1], -1, blocks)
    total = torch.zeros_like(parts[..., 0, :])
    for step in range(parts.shape[-2]):
        total = total + parts[..., step, :]
    result = torch.zeros_like(total[..., 0])
    for block in range(blocks):
        result = result + total[..., block]
    return result


def conv_by_matrix(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    columns = F.unfold(x, weight.shape[-1])
    flat = weight.flatten(1) @ columns + bias[:, None]
    side = x.shape[-1] - weight.shape[-1] + 1
    return flat.reshape(*flat.shape[:2], side, side)


def normalise(
    y: torch.Tensor, state: State, *, of: torch.Tensor | None = None, eps: float = 1e-5, unbiased: bool = False
) -> torch.Tensor:
    """Batch norm with the statistics of `of`."""
    of = y if of is None else of
    mean = of.mean((0, 2, 3), keepdim=True)
    variance = of.var((0, 2, 3), unbiased=unbiased, keepdim=True)
    weight, bias = state["bn.weight"][:, None, None], state["bn.bias"][:, None, None]
    return (y - mean) * torch.rsqrt(variance + eps) * weight + bias
