"""Run one solution under every check of compute-sanitizer, and conclude.

What it finds are an honest author's errors: a solution that wants to hide one can tell that it is being watched. A
check that could not be made to its end is never a pass.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kbench.errors import InfraError
from kbench.machine.tools import find_tool
from kbench.model import Job, Status, Verdict
from kbench.remote.hire import Hiring
from kbench.repro.facts import OUTCOME_FILE, Facts
from kbench.repro.script import make_script
from kbench.sanitize.report import Report, Unreadable, parse_report
from kbench.sanitize.tool import CHECKS, ENVIRONMENT, ERROR_EXIT, Check, command

_TARGET = "kbench.sanitize.launch:execute"
_SMALL = "small"
_TIMEOUT_S = 900.0
"""A kernel runs 10 to 100 times slower under racecheck."""
_DONE = "done"
_HAND_OVER = re.compile(r"\bbar(?:rier)?(?:\.cta)?\.arrive\b")
_HAND_OVER_HINT = (
    "; hint: racecheck takes memory that is handed over by bar.arrive and bar.sync for a race where there is none too, "
    "and does not when an mbarrier gives it back (docs/trust.md)"
)
_MAX_OUTCOME_BYTES = 1 << 20
_MAX_REPORT_BYTES = 4 << 20
"""More than a confined process may write into its log."""


@dataclass(frozen=True, kw_only=True)
class Sanitized:
    """What became of a solution under the checks: the first finding or failure, and what should be said beside it."""

    verdict: Verdict
    flags: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What one check left: the tool's output, its exit code, and how far the solution came by the script's own word."""

    text: str
    exit_code: int | None
    stage: str
    error: str = ""

    @property
    def how(self) -> str:
        """How it ended, in words."""
        said = self.error.strip().splitlines()
        return f"exit code {self.exit_code}, stage {self.stage!r}{f', {said[-1]}' if said else ''}"


def sanitize(hiring: Hiring, job: Job, *, libraries: Path | None, log_path: Callable[[str, str], Path]) -> Sanitized:
    """Run every check at the problem's smallest declared size. Returns `correct`, `incorrect` or `infra_error`.

    Raises InfraError where no process can be started.
    """
    tool = find_tool(os.environ)
    if tool is None:
        return _failed("compute-sanitizer", "it was not found", flags=())
    flags: list[str] = []
    script = make_script(smallest(job))
    source = job.solution.path.read_text(errors="replace")
    for check in CHECKS:
        log = log_path(job.solution.id, f"sanitize-{check.tool}")
        log.unlink(missing_ok=True)
        ran = _run(hiring, check, tool, script, libraries=libraries, log=log)
        if isinstance(ran, str):
            return _failed(check.tool, ran, flags=tuple(flags))
        outcome = conclude(check, ran, source=source)
        flags += outcome.flags
        if outcome.verdict.status is not Status.CORRECT:
            return Sanitized(verdict=outcome.verdict, flags=tuple(flags))
    return Sanitized(verdict=Verdict(status=Status.CORRECT), flags=tuple(flags))


def smallest(job: Job) -> Facts:
    """What a script must know to call the job's solution at the smallest size that its problem declares."""
    size = _SMALL if _SMALL in job.problem.sizes else "full"
    return Facts(
        problem=job.problem.id,
        solution=job.solution.name,
        device=job.device.value,
        size=size,
        precision=job.problem.precision.value,
        mode=job.problem.mode,
        overrides=dict(job.problem.sizes.get(size, {})),
        problem_source=job.problem.path.read_text(),
        solution_source="\n" * job.solution.line_offset + job.solution.path.read_text(errors="replace"),
    )


def conclude(check: Check, ran: Ran, *, source: str) -> Sanitized:
    """From what one check left to a verdict; `source` is the solution's text."""
    try:
        report = parse_report(ran.text)
    except Unreadable as error:
        return _failed(check.tool, f"{error}; {ran.how}", flags=())
    own = report.of_the_solution(source) if check.tool != "memcheck" else report.findings
    flags = _notes(check, report, ignored=len(report.findings) - len(own))
    if own:
        first = own[0]
        where = {"finding": first.text, **{k: v for k, v in vars(first).items() if k != "text"}}
        evidence = {"tool": check.tool, "errors": report.errors, **where}
        more = f" ({report.errors} errors in all)" if report.errors > 1 else ""
        hint = _HAND_OVER_HINT if check.tool == "racecheck" and _HAND_OVER.search(source) else ""
        message = f"{check.tool}: {first}{more}{hint}"
        verdict = Verdict(status=Status.INCORRECT, reason=check.reason, message=message, evidence=evidence)
        return Sanitized(verdict=verdict, flags=flags)
    if not report.complete:
        return _failed(check.tool, f"{report.errors} errors, of which {len(report.findings)} were printed", flags=flags)
    clean = ran.exit_code == 0 or (ran.exit_code == ERROR_EXIT and bool(report.errors or report.warnings))
    if not clean or (report.errors and ran.exit_code == 0) or ran.stage != _DONE:
        return _failed(check.tool, f"the solution did not run to its end under it: {ran.how}", flags=flags)
    return Sanitized(verdict=Verdict(status=Status.CORRECT), flags=flags)


def _notes(check: Check, report: Report, *, ignored: int) -> tuple[str, ...]:
    notes = []
    if ignored:
        notes.append(f"sanitize_library_findings:{check.tool}:{ignored}")
    if report.warnings:
        notes.append(f"sanitize_warnings:{check.tool}:{report.warnings}")
    return tuple(notes)


def _failed(what: str, why: str, *, flags: tuple[str, ...]) -> Sanitized:
    message = f"--sanitize was asked for, and {what} could not be concluded: {why}; hint: kbench show --log"
    verdict = Verdict(status=Status.INFRA_ERROR, reason="sanitize", message=message)
    return Sanitized(verdict=verdict, flags=(*flags, f"sanitize_failed:{what}"))


def _run(
    hiring: Hiring, check: Check, tool: Path, script: str, *, libraries: Path | None, log: Path
) -> Ran | str:
    """One check in a confined process. Returns what it left, or why it left nothing."""
    uid = hiring.server.new_uid()
    scratch = hiring.server.new_scratch(uid=uid)
    program = scratch / "script.py"
    program.write_text(script)
    program.chmod(0o444)
    folders = {name: scratch / name for name in ("home", "tmp", "work")}
    for folder in folders.values():
        folder.mkdir()
    if libraries is None:
        (scratch / "built").mkdir()
    else:
        shutil.copytree(libraries, scratch / "built")
    for path in (*folders.values(), scratch / "built", *(scratch / "built").rglob("*")):
        path.chmod(0o755)
        if uid is not None:
            os.chown(path, uid, uid)
    called = [sys.executable, str(program), "--call", str(folders["work"]), "--extensions", str(scratch / "built")]
    own = {"HOME": str(folders["home"]), "TMPDIR": str(folders["tmp"]), "USER": "kbench", "LOGNAME": "kbench"}
    process = hiring.server.spawn(
        _TARGET,
        {"command": command(tool, check, called), "environment": {**ENVIRONMENT, **own}},
        log=log,
        limits=hiring.limits,
        scratch=scratch,
        uid=uid,
    )
    try:
        try:
            ending = process.wait(_TIMEOUT_S)
        except InfraError as error:  # too late, or gone without a word
            return f"{error.what} ({error.why or error.where})"
        if ending.setup_error:
            raise InfraError("a sanitizer could not be started", why=ending.setup_error, where=str(log))
        if ending.exceeded:
            return f"it used more {ending.exceeded} than a worker may"
        text = log.read_bytes()[:_MAX_REPORT_BYTES].decode(errors="replace")
        outcome = _read_outcome(folders["work"] / OUTCOME_FILE)
        return Ran(text=text, exit_code=ending.exit_code, **outcome)
    finally:
        process.close()


def _read_outcome(path: Path) -> dict[str, str]:
    """Stage and error from a file in a folder that the solution could write: no link is followed, nothing trusted."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            said = json.loads(stream.read(_MAX_OUTCOME_BYTES))
        return {"stage": str(said["stage"])[:100], "error": str(said.get("error", ""))[-2000:]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"stage": "start", "error": ""}
