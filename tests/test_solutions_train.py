"""The hand-written solutions stay trainable: under autograd they give the reference's outputs and gradients."""

from __future__ import annotations

import ast
import functools
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kbench.layout import put_together, take_apart
from kbench.problem_module import execute

ROOT = Path(__file__).parents[1]
SOLUTIONS = sorted(ROOT.glob("solutions/*/*.py"))


def load_without_building(path: Path) -> types.ModuleType:
    """The solution's module with its extension left out: only what Python does is looked at here."""
    tree = ast.parse(path.read_text())
    tree.body = [s for s in tree.body if not (isinstance(s, ast.Assign) and "load_inline" in ast.unparse(s.value))]
    module = types.ModuleType(path.stem)
    exec(compile(tree, str(path), "exec"), module.__dict__)
    return module


@dataclass(frozen=True, kw_only=True)
class Example:
    """A problem at its small size, and what its reference makes of an input."""

    arguments: list[Any]
    state: dict[str, torch.Tensor]
    inputs: list[Any]
    outputs: list[torch.Tensor]
    gradients: list[torch.Tensor | None]
    parameters: list[str]
    buffers_after: dict[str, torch.Tensor]


@functools.cache
def example_of(problem_id: str) -> Example:
    source = ROOT / "problems" / f"{problem_id}.py"
    torch.manual_seed(0)
    problem = module_of(source)
    arguments, inputs = problem.get_init_inputs(), problem.get_inputs()
    reference = problem.Model(*arguments)
    state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    outputs, gradients = results(reference, inputs)
    return Example(
        arguments=arguments, state=state, inputs=inputs, outputs=outputs, gradients=gradients,
        parameters=[name for name, _ in reference.named_parameters()], buffers_after=dict(reference.named_buffers()),
    )  # fmt: skip


def module_of(source: Path) -> Any:
    sizes = yaml.safe_load(source.with_suffix(".yaml").read_text())["sizes"]
    return execute(source.read_text(), path=str(source), name=f"problem_{source.stem}", overrides=sizes["small"])


def results(model: torch.nn.Module, inputs: list[Any]) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """The outputs, and the gradients of a sum over them by each parameter and input."""
    form, tensors = take_apart(inputs)
    copies = [tensor.clone().requires_grad_(tensor.is_floating_point()) for tensor in tensors]
    _, outputs = take_apart(model(*put_together(form, copies)))
    smooth = [output.float().square().sum() for output in outputs if output.requires_grad]
    if smooth:
        torch.autograd.backward(torch.stack(smooth).sum())
    return outputs, [leaf.grad for leaf in (*model.parameters(), *copies)]


def test_there_are_solutions_for_every_problem() -> None:
    assert {path.parent.name for path in SOLUTIONS} == {path.stem for path in ROOT.glob("problems/*.py")}


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_outputs_and_gradients_are_the_references(path: Path) -> None:
    example = example_of(path.parent.name)
    ours = load_without_building(path).ModelNew(*example.arguments)
    ours.load_state_dict(example.state)
    assert [name for name, _ in ours.named_parameters()] == example.parameters
    got = results(ours, example.inputs)
    torch.testing.assert_close(got, (example.outputs, example.gradients))
    for name, buffer in example.buffers_after.items():
        torch.testing.assert_close(ours.get_buffer(name), buffer)
