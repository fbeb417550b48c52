"""The program that runs in the sandbox: load a module, warm it up, watch some forwards, write down what was seen.

`python -m kbench.profile.program FOLDER`; the folder holds `request.json` and gets the answer, one JSON line for each
event. Everything in here may be the candidate's doing, so nothing in the answer is believed, only shown.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kbench.assignment import Task
from kbench.judge.cases import Case
from kbench.judge.reference import Reference
from kbench.layout import put_together
from kbench.profile.trace import WHOLE, device_events, operator_events
from kbench.repro.candidate import construct, draw, make_reference
from kbench.repro.facts import Facts, Step
from kbench.worker.loader import load_class

ANSWER_FILE, REQUEST_FILE = "answer.jsonl", "request.json"
FAILED_EXIT = 3
_SEED = 1
"""Public: nothing is judged here."""
_SETS_BYTES = 2 << 30
"""Room for inputs. Large ones come round again."""


def main(folder: Path) -> int:
    """Do what the request says. Returns an exit code: 0, or FAILED_EXIT where the module raised."""
    request = json.loads((folder / REQUEST_FILE).read_text())
    facts = Facts(**request["facts"])
    stage = "set-up"
    try:
        reference = make_reference(facts, folder)
        cases = list(_inputs(reference, request["calls"]))
        stage = "load"
        module_class = load_class(Task(**request["task"]))
        stage = "construct"
        module = construct(module_class, reference, cases[0])
        _set_state(module, cases[0])
        stage = "call"
        with torch.no_grad():
            for number in range(request["warm_ups"]):
                _call(module, cases[number % len(cases)])
            if facts.device == "cuda":
                torch.cuda.synchronize()
            if request["watch"]:
                events = _watched(module, cases, request["calls"], folder, on_cuda=facts.device == "cuda")
            else:
                events = _unwatched(module, cases[0])
        _write(folder, [*events, {"kind": "end"}])
    except BaseException as error:  # a module may raise anything, and the other side is to say what
        _write(folder, [{"kind": "failed", "stage": stage, "error": _explain(error)}])
        return FAILED_EXIT
    return 0


def _inputs(reference: Reference, calls: int) -> Iterator[Case]:
    """As many different cases as there is room for, at least one, drawn before any line of the module runs."""
    room = _SETS_BYTES
    for number in range(calls):
        case = draw(reference, Step(case="as_given", seed=_SEED + number))
        room -= sum(tensor.numel() * tensor.element_size() for tensor in case.inputs.tensors)
        if number and room < 0:
            return
        yield case


def _set_state(module: torch.nn.Module, case: Case) -> None:
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(case.state[name])


def _call(module: torch.nn.Module, case: Case) -> None:
    module(*put_together(case.inputs.template, list(case.inputs.tensors)))


def _unwatched(module: torch.nn.Module, case: Case) -> list[dict[str, Any]]:
    """One forward for a tool around this process, which looks from here on only."""
    torch.cuda.profiler.start()
    _call(module, case)
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()
    return []


def _watched(
    module: torch.nn.Module, cases: list[Case], calls: int, folder: Path, *, on_cuda: bool
) -> list[dict[str, Any]]:
    from torch.profiler import ProfilerActivity, profile, record_function

    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as seen:
        for number in range(calls):
            with record_function(WHOLE):
                _call(module, cases[number % len(cases)])
        if on_cuda:
            torch.cuda.synchronize()
    if not on_cuda:
        return list(operator_events(seen.key_averages()))
    path = folder / "trace.json"
    seen.export_chrome_trace(str(path))
    return list(device_events(json.loads(path.read_text(errors="replace"))))


def _write(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / ANSWER_FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _explain(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))[-4000:]
    except Exception:  # an exception of the solution's own may refuse to be printed
        return type(error).__name__


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
