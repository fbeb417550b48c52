"""`kbench lint` as a function: find problems, and have each examined, whatever the others do to the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import kbench
from kbench.errors import NothingToDo, UsageError
from kbench.lint.model import Finding, Report, Severity
from kbench.lint.pipe import read_lines
from kbench.model import Device, Problem
from kbench.plan.files import id_below, walk
from kbench.plan.problems import FULL_SIZE, SMALL_SIZE, read_problem
from kbench.plan.select import compile_selection
from kbench.report.text import one_line

_SAID_CHARACTERS = 300
_RUNTIME = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "OMP_WAIT_POLICY": "passive"}
"""For glibc: large tensors come and go by the hundred, and half the time went into clearing fresh pages for them.
For OpenMP: a busy machine's cores should not be spent on waiting."""
_DYING_S = 1.0
"""A process that closed its answers is on its way out; one that did not hangs."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One problem file to examine."""

    problem: Problem
    size: str


def find_targets(
    problems: Path, *, device: Device, size: str | None, select: str | None
) -> tuple[list[Target], list[Report]]:
    """The problems to run, and reports of those whose files or sidecars already say that they cannot be.

    Raises UsageError for a path or expression that cannot be used, NothingToDo where nothing matches.
    """
    matches = compile_selection(select) if select is not None else None
    files = _files(problems)
    chosen = {id_: path for id_, path in files.items() if matches is None or matches(id_)}
    if not chosen:
        said = f"-k {select!r} matches none of them" if files else "there is no .py file below it"
        raise NothingToDo("no problems to examine", where=str(problems), why=said)
    targets, refused = [], []
    for id_, path in chosen.items():
        target = _target(id_, path, device=device, size=size)
        if isinstance(target, Report):
            refused.append(target)
        else:
            targets.append(target)
    return targets, refused


def _files(problems: Path) -> dict[str, Path]:
    if not problems.exists():
        raise UsageError("problems not found", where=str(problems), why="no such file or folder")
    if problems.is_dir():
        return {id_below(path, problems): path for path in walk(problems, suffixes=(".py",))}
    if problems.suffix != ".py":
        raise UsageError("a problem is a Python file", where=str(problems), hint="rename it to end in .py")
    return {problems.stem: problems}


def _target(id_: str, path: Path, *, device: Device, size: str | None) -> Target | Report:
    """A target, or why there is none."""
    try:
        problem = read_problem(id_, path)
    except UsageError as error:
        said = f"{error.what}: {error.why}" if error.why else error.what
        hint = error.hint or "correct it"
        return _refused(id_, path, size or "", device, "sidecar", said, hint, where=error.where)
    wanted = size or (SMALL_SIZE if device is Device.CPU and SMALL_SIZE in problem.sizes else FULL_SIZE)
    if problem.defect is not None:
        hint = "a problem defines Model, get_inputs and get_init_inputs"
        return _refused(id_, path, wanted, device, "file", problem.defect, hint)
    if wanted not in problem.sizes:
        detail = f"size {wanted!r} is not declared (has: {', '.join(problem.sizes)})"
        return _refused(id_, path, wanted, device, "size", detail, f"declare it under `sizes` in {path.stem}.yaml")
    return Target(problem=problem, size=wanted)


def _refused(
    id_: str, path: Path, size: str, device: Device, check: str, detail: str, remedy: str, *, where: str | None = None
) -> Report:
    where = where or str(path)
    finding = Finding(severity=Severity.ERROR, check=check, detail=detail, remedy=remedy, where=where)
    return Report(problem=id_, path=str(path), size=size, device=device.value, findings=(finding,))


def examine_all(targets: Sequence[Target], *, device: Device, timeout_s: float) -> Iterator[Report]:
    """One report for each target, in order, as each is done.

    One process examines them; when it dies or stays silent for `timeout_s`, the problem at hand is reported for it, and
    another process goes on with the rest.
    """
    rest = list(targets)
    while rest:
        with _examiner(rest, device) as examiner:
            for line in read_lines(examiner.answers, timeout_s=timeout_s):
                rest.pop(0)
                yield Report.from_json(json.loads(line))
            if not rest:
                return
            check, detail, remedy = _how_it_ended(examiner, timeout_s)
        target = rest.pop(0)
        yield _refused(target.problem.id, target.problem.path, target.size, device, check, detail, remedy)


@dataclass(frozen=True, kw_only=True)
class _Examiner:
    """A process of `kbench.lint.child` at work on some targets."""

    process: subprocess.Popen[bytes]
    answers: int
    """The descriptor that its reports arrive at."""
    said: IO[bytes]
    """What it, and the problems in it, print."""


@contextmanager
def _examiner(targets: Sequence[Target], device: Device) -> Iterator[_Examiner]:
    package = str(Path(kbench.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    jobs = [{"problem": t.problem.id, "path": str(t.problem.path), "size": t.size} for t in targets]
    answers, theirs = os.pipe()
    with os.fdopen(answers, "rb", buffering=0), tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as order:
        try:
            order.write(json.dumps({"device": device.value, "answers": theirs, "jobs": jobs}).encode())
            order.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-m", "kbench.lint.child"], stdin=order, stdout=said, stderr=said,
                pass_fds=(theirs,), env={**_RUNTIME, **os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        finally:
            os.close(theirs)
        with process:
            try:
                yield _Examiner(process=process, answers=answers, said=said)
            finally:
                process.kill()


def _how_it_ended(examiner: _Examiner, timeout_s: float) -> tuple[str, str, str]:
    """A finding's check, detail and remedy for an examiner that stopped answering."""
    try:
        code = examiner.process.wait(timeout=_DYING_S)
    except subprocess.TimeoutExpired:
        return "timeout", f"not done after {timeout_s:g} s", "give it a smaller size, or a longer --timeout"
    examiner.said.seek(0)
    lines = examiner.said.read().decode(errors="replace").strip().splitlines()
    said = f": {one_line(lines[-1], _SAID_CHARACTERS)}" if lines else ""
    ended = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code} before it was done"
    remedy = "run the file by itself; where memory ran out, give it a smaller size"
    return "crash", f"the process that ran it {ended}{said}", remedy


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
