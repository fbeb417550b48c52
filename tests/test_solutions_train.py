"""The hand-written solutions stay trainable: under autograd they give the reference's output and gradients."""

from __future__ import annotations

import ast
import types
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
SOLUTIONS = sorted(ROOT.glob("solutions/*/*.py"))


def load_without_building(path: Path) -> types.ModuleType:
    """The solution's module with its extension left out: only what Python does is looked at here."""
    tree = ast.parse(path.read_text())
    tree.body = [s for s in tree.body if not (isinstance(s, ast.Assign) and "load_inline" in ast.unparse(s.value))]
    module = types.ModuleType(path.stem)
    exec(compile(tree, str(path), "exec"), module.__dict__)
    return module


def test_there_are_solutions_for_every_problem() -> None:
    assert {path.parent.name for path in SOLUTIONS} == {path.stem for path in ROOT.glob("problems/*.py")}


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_gradients_are_the_references(path: Path) -> None:
    problem: dict[str, Any] = {}
    exec((ROOT / "problems" / f"{path.parent.name}.py").read_text(), problem)
    arguments = problem["get_init_inputs"]()
    reference, ours = problem["Model"](*arguments), load_without_building(path).ModelNew(*arguments)
    ours.load_state_dict(reference.state_dict())
    x = torch.rand(2, problem["in_channels"], 12, 12)
    for model in (reference, ours):
        model(x).square().sum().backward()
    for (name, expected), (same, got) in zip(reference.named_parameters(), ours.named_parameters(), strict=True):
        assert same == name
        assert expected.grad is not None
        assert got.grad is not None
        torch.testing.assert_close(got.grad, expected.grad)
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer)
