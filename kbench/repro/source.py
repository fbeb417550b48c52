"""From a stored record to the facts of a script: find the two sources as they were judged."""

from __future__ import annotations

from pathlib import Path

from kbench.errors import UsageError
from kbench.model import Problem, Record, Status
from kbench.plan.files import read_source
from kbench.plan.problems import read_problem
from kbench.repro.facts import Facts
from kbench.store.runs import LoadedRun
from kbench.store.writer import problem_source, solution_source

_NOT_JUDGED = (Status.SKIPPED, Status.INFRA_ERROR)
_DEFAULT_TIMEOUT_S = 60.0


def facts_of(run: LoadedRun, record: Record) -> Facts:
    """What a script of `record` must know.

    Raises UsageError where nothing of the solution was judged, and where a source is not to be had any more as it was.
    """
    if record.status in _NOT_JUDGED:
        raise UsageError(
            f"there is no failure of {record.id} to show", where=str(run.path),
            why=f"it was not judged: {record.status}{f' ({record.reason})' if record.reason else ''}",
        )  # fmt: skip
    problem = _find_problem(run, record)
    if record.size not in problem.sizes:
        where = str(problem.sidecar or problem.path)
        raise UsageError(f"problem {problem.id!r} has no size {record.size!r}", where=where)
    timeout_s = run.options.get("timeout_s")
    return Facts(
        problem=record.problem,
        solution=record.solution,
        device=record.device,
        size=record.size,
        precision=record.precision,
        mode=problem.mode,
        overrides=dict(problem.sizes[record.size]),
        status=record.status.value,
        reason=record.reason,
        message=record.message,
        evidence=dict(record.evidence),
        left_out=tuple(said.partition(":")[2] for said in record.cases_left_out),
        timeout_s=float(timeout_s) if isinstance(timeout_s, int | float) else _DEFAULT_TIMEOUT_S,
        problem_source=read_source(problem.path).text,
        solution_source=_find_solution(run, record),
    )


def _find_problem(run: LoadedRun, record: Record) -> Problem:
    """The problem with its sidecar, from the run's own copy or else from where the run found it."""
    places = [problem_source(_folder(run), record.problem), *_places(run, "problems", record.problem)]
    looked = []
    for path in places:
        if path.is_file():
            problem = read_problem(record.problem, path)
            if problem.sha == record.problem_sha:
                return problem
            looked.append(path)
    raise _gone(f"problem {record.problem!r}", looked, places)


def _find_solution(run: LoadedRun, record: Record) -> str:
    places = [solution_source(_folder(run), record.id), *_places(run, "solutions", record.id)]
    looked = []
    for path in places:
        if path.is_file():
            file = read_source(path)
            if file.sha == record.solution_sha and file.defect is None:
                return file.text
            looked.append(path)
    raise _gone(f"solution {record.id!r}", looked, places)


def _folder(run: LoadedRun) -> Path:
    return run.directory or run.path.parent


def _places(run: LoadedRun, option: str, identity: str) -> list[Path]:
    """Where a run's options say that a source was: below a folder, or the one file that was named."""
    root = run.options.get(option)
    if not isinstance(root, str):
        return []
    return [Path(root) / f"{identity}.py", *([Path(root)] if root.endswith(".py") else [])]


def _gone(what: str, looked: list[Path], places: list[Path]) -> UsageError:
    if looked:
        return UsageError(
            f"{what} is not what was judged any more", where=str(looked[-1]),
            why="its hash, a problem's sidecar included, is not the record's",
            hint="check out the version that was judged",
        )  # fmt: skip
    return UsageError(f"{what} cannot be found", why=f"looked at {', '.join(map(str, places))}")
