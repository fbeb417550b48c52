"""Start what looks at a solution behind the sandbox's walls, wait for it, and turn every way to end into a value."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.assignment import Task
from kbench.build.kernels import Resources
from kbench.engine.records import padded_source
from kbench.errors import InfraError
from kbench.model import Job, Status, Verdict
from kbench.profile import ncu
from kbench.profile.answer import Failed, read_events
from kbench.profile.model import Event, Section
from kbench.profile.program import ANSWER_FILE, REQUEST_FILE
from kbench.remote.hire import Hiring, copy_libraries, own_folders
from kbench.repro.facts import Facts
from kbench.sandbox.answers import Malformed, read_file
from kbench.sandbox.client import Confined, Ending

CALLS = 10
"""Forwards that are watched."""
_WARM_UPS = 3
_START_S = 120.0
"""For a fresh interpreter, torch and the profiler, before the first forward."""
_NCU_SLOWER = 10.0
"""ncu runs every launch several times, and slowly."""
_EXECUTE = "kbench.sanitize.launch:execute"
_STAGES = {
    "load": (Status.LOAD_ERROR, "import"),
    "construct": (Status.LOAD_ERROR, "constructor"),
    "call": (Status.RUNTIME_ERROR, "exception"),
}


class Unwatchable(Exception):
    """The module did not run to its end under the profiler, or what came back is no answer."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True)
class Post:
    """What all that is started for one pair has in common."""

    hiring: Hiring
    job: Job
    libraries: Path | None
    environment: Mapping[str, str]
    logs: Path


def watch(post: Post, *, role: str) -> tuple[Event, ...]:
    """What the profiler sees in CALLS forwards of the `candidate` or the `reference`. Raises Unwatchable or
    InfraError.
    """
    room = _Room(post, name=f"profile-{role}")
    try:
        patience_s = _START_S + post.hiring.deadlines.call_s
        ending = room.run(_EXECUTE, room.program(role, watched=True), timeout_s=patience_s)
        if ending is None:
            raise Unwatchable(Verdict(status=Status.TIMEOUT, reason="call", message="no answer under the profiler"))
        try:
            found = read_events(read_file(room.work / ANSWER_FILE))
        except Malformed as error:
            raise Unwatchable(verdict_without_answer(ending, str(error))) from error
        if isinstance(found, Failed):
            raise Unwatchable(verdict_of(found))
        return found
    finally:
        room.close()


def measure_with_ncu(post: Post, tool: Path, kernels: Sequence[Resources]) -> tuple[Section, ...]:
    """ncu's figures of one forward's own kernels. Raises ncu.Unreadable, InfraError."""
    room = _Room(post, name="ncu")
    table = room.work / "ncu.csv"
    task = room.program("candidate", watched=False)
    task["command"] = ncu.command(tool, task["command"], kernels, csv_file=table)
    task["environment"] |= ncu.ENVIRONMENT
    patience_s = _NCU_SLOWER * (_START_S + post.hiring.deadlines.call_s)
    try:
        if room.run(_EXECUTE, task, timeout_s=patience_s) is None:
            raise ncu.Unreadable(f"it did not end within {patience_s:.0f} s")
        return ncu.parse(read_file(table))
    except Malformed as error:
        said = room.log.read_text(errors="replace").strip().splitlines()
        raise ncu.Unreadable(f"it left no table{f': {said[-1][:300]}' if said else ''}") from error
    finally:
        room.close()


def verdict_of(failed: Failed) -> Verdict:
    """What follows from a module's exception, in the words that a run has for it. Raises InfraError for one of ours."""
    said = [line for line in failed.error.strip().splitlines() if line.strip()]
    message = said[-1][:2000] if said else "no message"
    if failed.stage not in _STAGES:
        raise InfraError("the inputs for the profiler could not be made", why=message)
    status, reason = _STAGES[failed.stage]
    return Verdict(status=status, reason=reason, message=f"under the profiler: {message}")


def verdict_without_answer(ending: Ending, why: str) -> Verdict:
    """What follows for a process that left no proper answer."""
    if ending.exceeded:
        message = f"under the profiler it used more {ending.exceeded} than a worker may"
        return Verdict(status=Status.OUT_OF_MEMORY, reason=f"{ending.exceeded}_limit", message=message)
    if ending.signal is not None:
        known = ending.signal in set(signal.Signals)
        name = signal.Signals(ending.signal).name if known else f"signal {ending.signal}"
        return Verdict(status=Status.CRASH, reason=name, message=f"the process died of {name} under the profiler")
    if ending.exit_code != 0:
        message = f"the process exited with code {ending.exit_code} under the profiler, without answering"
        return Verdict(status=Status.CRASH, reason="exited", message=message)
    return Verdict(status=Status.PROTOCOL_ERROR, reason="malformed", message=f"the profiled process gave {why}")


class _Room:
    """A scratch folder for one confined process, which may write its `work` below it."""

    def __init__(self, post: Post, *, name: str) -> None:
        server = post.hiring.server
        self._post = post
        self._uid = server.new_uid()
        self._process: Confined | None = None
        self._scratch = server.new_scratch(uid=self._uid)
        self._own = own_folders(self._scratch)
        self.libraries = copy_libraries(post.libraries, self._scratch, self._uid)
        self.work = Path(self._own["TMPDIR"])
        self.log = post.logs / f"{name}.log"

    def program(self, role: str, *, watched: bool) -> dict[str, Any]:
        """What to execute for `kbench.profile.program` on one side; its request lies ready then."""
        job = self._post.job
        candidate = self._scratch / "candidate.py"
        candidate.write_text(padded_source(job))
        candidate.chmod(0o444)
        on_candidate = role == "candidate"
        overrides = dict(job.problem.sizes.get(job.size, {}))
        task = Task(
            role=role,
            path=str(candidate if on_candidate else self.work / "problem.py"),
            shown_path=job.solution.shown_path if on_candidate else job.problem.path.name,
            class_name="ModelNew" if on_candidate else "Model",
            threads=self._post.hiring.threads,
            precision=job.problem.precision.value,
            overrides=overrides,
            extensions=str(self.libraries),
        )
        facts = Facts(
            problem=job.problem.id, solution=job.solution.name, device=job.device.value, size=job.size,
            precision=job.problem.precision.value, mode=job.problem.mode, overrides=overrides,
            problem_source=job.problem.path.read_text(), solution_source="",
        )  # fmt: skip
        request = {"facts": vars(facts), "task": task.to_json(), "calls": CALLS, "warm_ups": _WARM_UPS,
                   "watch": watched}  # fmt: skip
        (self.work / REQUEST_FILE).write_text(json.dumps(request))
        command = [sys.executable, "-P", "-m", "kbench.profile.program", str(self.work)]
        return {"command": command, "environment": {**self._post.environment, **self._own}}

    def run(self, target: str, task: Mapping[str, Any], *, timeout_s: float) -> Ending | None:
        """Run it to its end; None where it did not come to one in time. Raises InfraError where it cannot start."""
        self._process = self._post.hiring.server.spawn(
            target, task, log=self.log, limits=self._post.hiring.limits, scratch=self._scratch, uid=self._uid
        )
        try:
            ending = self._process.wait(timeout_s)
        except InfraError:  # too late
            self._process.kill()
            return None
        if ending.setup_error:
            raise InfraError("a process could not be confined", why=ending.setup_error, where=str(self.log))
        return ending

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
