"""The script's comparison: what a child left on disk against the fp64 oracle of the same case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kbench.judge.cases import Case
from kbench.judge.oracle import Expected, same_bytes
from kbench.judge.tolerance import Tolerance, compare
from kbench.repro.facts import OUTCOME_FILE


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with an answer; `reason` is a record's."""

    reason: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def read_outcome(folder: Path) -> dict[str, Any]:
    """How far the child came; `{"stage": "start"}` where it left no word."""
    path = folder / OUTCOME_FILE
    if not path.exists():
        return {"stage": "start"}
    outcome: dict[str, Any] = json.loads(path.read_text())
    return outcome


def find_fault(
    folder: Path, outcome: Mapping[str, Any], case: Case, expected: Expected, device: torch.device
) -> Fault | None:
    """Hold a child's answer against the oracle; None where everything is within its budget."""
    forms = outcome["outputs"]
    if outcome["structure"] != expected.structure or len(forms) != len(expected.eager):
        text = f"the output is {outcome['structure'][:200]} where {expected.structure} is due (T: a tensor)"
        return Fault(reason="structure", message=text)
    answer = []
    for number, (form, eager) in enumerate(zip(forms, expected.eager, strict=True)):
        if tuple(form["shape"]) != tuple(eager.shape):
            text = f"output {number} has shape {form['shape']} instead of {list(eager.shape)}"
            return Fault(reason="shape", message=text)
        if f"torch.{form['dtype']}" != str(eager.dtype):
            text = f"output {number} is {form['dtype']} instead of {str(eager.dtype).removeprefix('torch.')}"
            return Fault(reason="dtype", message=text)
        if form["device"] != device.type and form["shape"]:
            return Fault(reason="device", message=f"output {number} is on {form['device']} instead of {device.type}")
        answer.append(_read_tensor(folder, form, device))
    return (
        _wrong_values(answer, expected)
        or _changed_inputs(outcome, expected)
        or _wrong_state(folder, outcome, case, expected, device)
    )


def _wrong_values(answer: list[torch.Tensor], expected: Expected) -> Fault | None:
    parts = zip(answer, expected.oracle, expected.eager, expected.budgets, strict=True)
    for number, (got, oracle, eager, budget) in enumerate(parts):
        if (mismatch := compare(got, oracle, eager, budget)) is not None:
            reason = "nonfinite" if mismatch.evidence.get("nonfinite") else "values"
            figures = {"output": number, "error": _error(got, oracle, budget), "budget": budget.limit}
            return Fault(reason=reason, message=mismatch.message, evidence={**mismatch.evidence, **figures})
    return None


def _changed_inputs(outcome: Mapping[str, Any], expected: Expected) -> Fault | None:
    if outcome["inputs_changed"] and not expected.eager_mutates:
        return Fault(reason="input_mutated", message="forward wrote into its inputs")
    return None


def _wrong_state(
    folder: Path, outcome: Mapping[str, Any], case: Case, expected: Expected, device: torch.device
) -> Fault | None:
    for name, form in outcome["state"].items():
        got = _read_tensor(folder, form, device)
        oracle, eager = expected.oracle_state[name], expected.eager_state[name]
        budget = expected.state_budgets.get(name)
        if budget is not None:
            mismatch = compare(got, oracle, eager, budget)
            if mismatch is not None:
                text = f"buffer {name} after forward: {mismatch.message}"
                return Fault(reason="buffers", message=text, evidence=mismatch.evidence)
        elif not same_bytes(got, eager):
            kept = same_bytes(got, case.state[name])
            text = f"forward {'left' if kept else 'changed'} {name} otherwise than the reference does"
            return Fault(reason="buffers", message=text)
    return None


def largest_share(folder: Path, outcome: Mapping[str, Any], expected: Expected, device: torch.device) -> float:
    """The largest share of its budget that the error of any output takes (1: all of it)."""
    shares = [0.0]
    for form, oracle, budget in zip(outcome["outputs"], expected.oracle, expected.budgets, strict=True):
        if oracle.is_floating_point():
            shares.append(_error(_read_tensor(folder, form, device), oracle, budget) / budget.limit)
    return max(shares)


def _error(got: torch.Tensor, oracle: torch.Tensor, budget: Tolerance) -> float:
    """rms(d)/s over the elements that are finite on both sides: the figure that the budget bounds."""
    if got.is_complex() or not got.numel():
        return 0.0
    difference = got.double() - oracle.double()
    kept = difference[difference.isfinite()]
    return float(kept.square().mean().sqrt()) / budget.scale if kept.numel() else 0.0


def _read_tensor(folder: Path, form: Mapping[str, Any], device: torch.device) -> torch.Tensor:
    dtype: torch.dtype = getattr(torch, form["dtype"])
    data = bytearray((folder / form["file"]).read_bytes())
    if not data:
        return torch.empty(form["shape"], dtype=dtype, device=device)
    return torch.frombuffer(data, dtype=dtype).reshape(form["shape"]).to(device)
