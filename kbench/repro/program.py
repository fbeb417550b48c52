"""What a script does when it is run: draw the failing case again, call the solution in a child process, compare.

This module, and what it uses of the judge, is copied into every script. Exit codes: 1 the solution fails here
(`reproduced`), 0 it does not (`not reproduced`; a solution that was correct: its comparison passes), 2 the script
cannot be run here.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import CASE_NAMES
from kbench.judge.oracle import expect
from kbench.repro.candidate import call_candidate, draw, make_reference, silence
from kbench.repro.facts import OUTCOME_FILE, Facts, Step
from kbench.repro.verify import Fault, find_fault, largest_share, read_outcome

REPRODUCED, NOT_REPRODUCED, CANNOT_RUN = 1, 0, 2
_PUBLIC_SEED = 1
"""For whatever the record does not name."""
_MANY_CALLS = 40
"""A solution that is exact at first may fail later; timing makes about as many calls."""
_START_S, _BUILD_S = 60.0, 900.0
_STAGES = {"build_error": "build", "load_error": "load", "out_of_memory": "out_of_memory"}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A child that has ended: its stage, and where it left its answer."""

    folder: Path
    outcome: Mapping[str, Any]
    died: str = ""
    """How it ended, where it did not answer: `SIGSEGV`, `timeout`, `exit code 7`."""

    @property
    def answered(self) -> bool:
        return self.outcome["stage"] == "done" and not self.died


class _Bench:
    """Starts children, each in a folder of its own, with one folder of compiled extensions for all."""

    def __init__(self, facts: Facts, script: Path, root: Path, *, timeout_s: float) -> None:
        self.facts = facts
        self.root = root
        self._script = script
        self._timeout_s = timeout_s
        self._count = 0
        self.reference = make_reference(facts, root)

    def run(self, steps: Sequence[Step]) -> Ended:
        self._count += 1
        folder = self.root / f"call{self._count}"
        folder.mkdir()
        (folder / "steps.json").write_text(json.dumps([dataclasses.asdict(step) for step in steps]))
        command = [sys.executable, str(self._script), "--child", str(folder), "--extensions", str(self.root / "built")]
        with (folder / "said.txt").open("wb") as said:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
            try:
                code = child.wait(self._timeout_s)
                died = _ending(code)
            except subprocess.TimeoutExpired:
                died = "timeout"
            finally:
                _kill_group(child)
        return Ended(folder=folder, outcome=read_outcome(folder), died=died)

    def compare(self, ended: Ended, step: Step) -> tuple[Fault | None, float]:
        """The fault of an answer, if any, and the largest share of a budget that its error takes."""
        case = draw(self.reference, step)
        expected = expect(self.reference, case)
        device = self.reference.device
        fault = find_fault(ended.folder, ended.outcome, case, expected, device)
        return fault, 0.0 if fault else largest_share(ended.folder, ended.outcome, expected, device)


def _ending(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"exit code {code}" if code else ""


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def main(facts: Facts, script: Path, arguments: Sequence[str]) -> int:
    """Run a script that was made for `facts`; returns its exit code."""
    parser = argparse.ArgumentParser(description=f"Shows {facts.id}: {facts.status}. See the top of this file.")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds for all calls of one process")
    parser.add_argument("--call", type=Path, metavar="DIR", help="only call the solution; DIR gets outcome.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--extensions", type=Path, metavar="DIR", help="compiled extensions to use, or to leave there")
    given = parser.parse_args(arguments)
    if facts.device == "cuda" and not torch.cuda.is_available():
        print("this was judged on CUDA, and there is no CUDA device here: the CPU draws other numbers from a seed")
        return CANNOT_RUN
    if given.child is not None:
        steps = [Step(**step) for step in json.loads((given.child / "steps.json").read_text())]
        return call_candidate(facts, steps, given.child, extensions=given.extensions, keep=True)
    if given.call is not None:
        silence()
        twice = [Step(case=CASE_NAMES[0], seed=_PUBLIC_SEED)] * 2
        extensions = given.extensions or given.call / "built"
        return call_candidate(facts, twice, given.call, extensions=extensions, keep=False)
    with tempfile.TemporaryDirectory(prefix="repro-") as root:
        try:
            bench = _Bench(facts, script, Path(root), timeout_s=given.timeout or _patience_s(facts))
            return _show(bench)
        except ProblemError as error:
            print(f"the reference cannot be run here: {error}")
            return CANNOT_RUN


def _patience_s(facts: Facts) -> float:
    builds = _BUILD_S if "cpp_extension" in facts.solution_source else 0.0
    return _START_S + builds + facts.timeout_s


def _show(bench: _Bench) -> int:
    facts = bench.facts
    print(f"{facts.id} on {facts.device}, size {facts.size}, {facts.precision}")
    print(f"recorded: {facts.status}{' / ' if facts.reason else ''}{facts.reason}: {facts.message}".rstrip(": "))
    failing = _failing_step(facts)
    if failing is not None:
        return _show_case(bench, failing)
    return _show_passing(bench) if facts.status == "correct" else _show_unnamed(bench)


def _failing_step(facts: Facts) -> Step | None:
    case, seed, state_seed = (facts.evidence.get(name) for name in ("case", "seed", "state_seed"))
    if case not in CASE_NAMES or not isinstance(seed, int):
        return None
    return Step(case=str(case), seed=seed, state_seed=state_seed if isinstance(state_seed, int) else None)


def _show_case(bench: _Bench, failing: Step) -> int:
    """The recorded case, first alone, then after such calls as a run makes before it."""
    earlier = [Step(case=name, seed=_PUBLIC_SEED) for name in CASE_NAMES[: CASE_NAMES.index(failing.case)]]
    attempts = {
        "by itself": [failing],
        "after the same call": [failing] * 2,
        "after the cases before it, drawn anew": [*earlier, failing],
        f"after {_MANY_CALLS} calls": [Step(case=CASE_NAMES[0], seed=_PUBLIC_SEED)] * _MANY_CALLS + [failing],
    }
    for how, steps in attempts.items():
        ended = bench.run(steps)
        print(f"case {failing.case}, seed {failing.seed}, {how}:")
        if not ended.answered:
            return _report_failure(bench.facts, ended)
        fault, share = bench.compare(ended, failing)
        if fault is not None:
            return _report_fault(bench.facts, fault)
        print(f"  within the budget ({share:.1%} of it)")
    print("not reproduced")
    return NOT_REPRODUCED


def _show_unnamed(bench: _Bench) -> int:
    """A record that names no case which can be drawn again: one call, then many with every case among them."""
    once = [Step(case=CASE_NAMES[0], seed=_PUBLIC_SEED)]
    many = [*once * _MANY_CALLS, *(Step(case=name, seed=_PUBLIC_SEED) for name in CASE_NAMES), *once]
    for how, steps in (("one call", once), (f"{len(many)} calls", many)):
        print(f"{how}, inputs and parameters as given last:")
        ended = bench.run(steps)
        if not ended.answered:
            return _report_failure(bench.facts, ended)
        fault, share = bench.compare(ended, steps[-1])
        if fault is not None:
            return _report_fault(bench.facts, fault)
        print(f"  within the budget ({share:.1%} of it)")
    print("not reproduced")
    return NOT_REPRODUCED


def _show_passing(bench: _Bench) -> int:
    """A solution that was correct: every case, drawn anew."""
    for name in CASE_NAMES:
        step = Step(case=name, seed=_PUBLIC_SEED)
        print(f"case {name}, seed {step.seed}:")
        if name in bench.facts.left_out:
            print("  the reference cannot do it: left out, as in the run")
            continue
        ended = bench.run([step])
        if not ended.answered:
            return _report_failure(bench.facts, ended)
        fault, share = bench.compare(ended, step)
        if fault is not None:
            return _report_fault(bench.facts, fault)
        print(f"  within the budget ({share:.1%} of it)")
    print("passes, as recorded")
    return NOT_REPRODUCED


def _report_fault(facts: Facts, fault: Fault) -> int:
    recorded = facts.evidence
    if "index" in fault.evidence:
        found = fault.evidence
        print(f"  worst element {found['index']}: expected {found['expected']}, got {found['got']}")
        print(f"  {found['off']} of {found['total']} elements are off; {found['pattern'] or 'in all places'}")
    if "error" in fault.evidence:
        budget = f"budget {fault.evidence['budget']:.3g}"
        was = f", recorded {recorded['tolerance']:.3g}" if "tolerance" in recorded else ""
        print(f"  error {fault.evidence['error']:.3g} of the output's scale; {budget}{was}")
    print(f"  {fault.reason}: {fault.message}")
    if fault.reason != facts.reason:
        print(f"reproduced, as {fault.reason} instead of {facts.reason or facts.status}")
    elif "index" in fault.evidence and fault.evidence["index"] != recorded.get("index"):
        print(f"reproduced, at another element than the recorded {recorded.get('index')}")
    else:
        print("reproduced")
    return REPRODUCED


def _report_failure(facts: Facts, ended: Ended) -> int:
    outcome = ended.outcome
    stage, kind = outcome["stage"], outcome.get("kind")
    if kind is not None:
        print(f"  {stage} failed:\n{_indented(outcome['error'])}")
        matches = kind == _STAGES.get(facts.status, kind) and facts.status not in ("crash", "timeout")
    else:
        print(f"  the process ended during {stage}: {ended.died or 'it left without an answer'}")
        said = (ended.folder / "said.txt").read_bytes()[-4000:].decode(errors="replace")
        print(_indented(said) if said.strip() else "    it said nothing")
        if stage == "start":
            print(f"the script's own set-up failed: no {OUTCOME_FILE}")
            return CANNOT_RUN
        matches = facts.status == ("timeout" if ended.died == "timeout" else "crash")
    print("reproduced" if matches else f"reproduced, as {kind or ended.died or 'crash'} instead of {facts.status}")
    return REPRODUCED


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-30:])
