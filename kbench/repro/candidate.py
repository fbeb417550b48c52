"""The script's child process: load a solution, construct it, call it, and leave on disk what came out.

The child alone imports the solution; the parent, which compares, reads bytes and JSON from it.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kbench.assignment import Task
from kbench.judge.cases import Case, make_case
from kbench.judge.oracle import same_bytes
from kbench.judge.reference import CONSTRUCTION_SEED, Reference
from kbench.layout import dtype_name, flatten_output, lay_out, put_together
from kbench.model import Precision, Problem
from kbench.repro.facts import OUTCOME_FILE, Facts, Step
from kbench.worker.extensions import BuildFailed
from kbench.worker.loader import load_class
from kbench.worker.state import ParameterMismatch, check_names

FAILED_EXIT = 3
"""Exit code of a child whose solution raised an exception."""


def make_reference(facts: Facts, folder: Path) -> Reference:
    """The problem, written into `folder` and executed at the record's size on the record's device."""
    path = folder / "problem.py"
    path.write_text(facts.problem_source, newline="")
    problem = Problem(
        id=facts.problem,
        path=path,
        sha="",
        sizes={facts.size: facts.overrides},
        precision=Precision(facts.precision),
        mode=facts.mode,
    )
    device = torch.device("cuda:0" if facts.device == "cuda" else "cpu")
    return Reference(problem, size=facts.size, device=device)


def draw(reference: Reference, step: Step) -> Case:
    """The inputs and parameters of a step, as the judge drew them."""
    more: dict[str, Any] = {} if step.state_seed is None else {"state_seed": step.state_seed}
    return make_case(reference, step.case, step.seed, **more)


def call_candidate(facts: Facts, steps: Sequence[Step], folder: Path, *, extensions: Path, keep: bool) -> int:
    """Call the solution once per step, in order; returns 0, or FAILED_EXIT where it raised.

    `folder` gets `outcome.json`, rewritten at each stage so that a crash leaves the last one behind, and with `keep`
    the last call's outputs and state as raw bytes. Compiled extensions are taken from `extensions`, or put there.
    """
    reference = make_reference(facts, folder)
    steps = [step for step in steps if step.case not in facts.left_out]
    drawn = {step: draw(reference, step) for step in steps}  # before any line of the solution could meddle with torch
    stage = "load"

    def enter(name: str, **more: Any) -> None:
        nonlocal stage
        stage = name
        _write(folder, {"stage": name, **more})

    try:
        enter("load")
        module_class = load_class(_task(facts, folder, extensions))
        enter("construct")
        module = construct(module_class, reference, drawn[steps[0]])
        for number, step in enumerate(steps, start=1):
            enter("call", number=number, case=step.case)
            inputs, output = _call(module, drawn[step], last=number == len(steps))
        enter("output")
        _write(folder, {"stage": "done", **_leave(folder, module, drawn[steps[-1]], inputs, output)} if keep
               else {"stage": "done"})  # fmt: skip
    except BaseException as error:  # a solution may raise anything, and the parent is to say what
        _write(folder, {"stage": stage, "kind": _kind(error, stage), "error": _explain(error, facts, folder)})
        return FAILED_EXIT
    return 0


def _task(facts: Facts, folder: Path, extensions: Path) -> Task:
    path = folder / "candidate.py"
    path.write_text(facts.solution_source, newline="")
    return Task(
        role="candidate",
        path=str(path),
        shown_path=f"{facts.id}.py",
        class_name="ModelNew",
        threads=torch.get_num_threads(),
        precision=facts.precision,
        extensions=str(extensions),
    )


def construct(module_class: Any, reference: Reference, case: Case) -> torch.nn.Module:
    """As a worker does: the same seed, device, dtype and mode; then parameters must be the reference's by name."""
    if reference.device.type == "cuda":
        torch.cuda.set_device(reference.device)
    torch.manual_seed(CONSTRUCTION_SEED)
    module = module_class(*reference.init_inputs)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"the class makes a {type(module).__name__}, not a torch.nn.Module")
    module = module.to(reference.device)
    if reference.dtype is not None:
        module = module.to(reference.dtype)
    if reference.problem.mode is not None:
        module.train(reference.problem.mode == "train")
    slots, _ = lay_out(case.state.values())
    check_names(module, dict(zip(case.state, slots, strict=True)))
    return module


def _call(module: torch.nn.Module, case: Case, *, last: bool) -> tuple[list[torch.Tensor], Any]:
    inputs = [tensor.clone() for tensor in case.inputs.tensors]
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(case.state[name])
        output = module(*put_together(case.inputs.template, inputs))
    if inputs and inputs[0].device.type == "cuda":
        torch.cuda.synchronize()
    return inputs, output if last else None


def _leave(folder: Path, module: torch.nn.Module, case: Case, inputs: list[torch.Tensor], output: Any) -> Any:
    """Write outputs and state as bytes; returns how to read them."""
    structure, outputs = flatten_output(output)
    state = module.state_dict()
    pairs = zip(inputs, case.inputs.tensors, strict=True)
    return {
        "structure": structure,
        "outputs": [_write_tensor(folder / f"output{i}.bin", tensor) for i, tensor in enumerate(outputs)],
        "state": {name: _write_tensor(folder / f"state{i}.bin", t) for i, (name, t) in enumerate(state.items())},
        "inputs_changed": not all(same_bytes(after, before) for after, before in pairs),
    }


def _write_tensor(path: Path, tensor: torch.Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    path.write_bytes(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return {
        "file": path.name,
        "dtype": dtype_name(tensor.dtype),
        "shape": list(tensor.shape),
        "device": tensor.device.type,
    }


def _write(folder: Path, outcome: dict[str, Any]) -> None:
    whole = folder / f".{OUTCOME_FILE}"
    whole.write_text(json.dumps(outcome))
    whole.replace(folder / OUTCOME_FILE)


def _kind(error: BaseException, stage: str) -> str:
    if isinstance(error, BuildFailed):
        return "build"
    if isinstance(error, ParameterMismatch):
        return "parameters"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "out_of_memory"
    return stage


def _explain(error: BaseException, facts: Facts, folder: Path) -> str:
    if isinstance(error, BuildFailed | ParameterMismatch):
        return str(error)
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # an exception of the solution's own may refuse to be printed
        text = type(error).__name__
    return text.replace(str(folder / "candidate.py"), f"{facts.id}.py")


def silence() -> None:
    """Send what this process prints to nowhere, for one whose output belongs to a tool around it."""
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
