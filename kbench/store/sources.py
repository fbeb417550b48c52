"""The sources behind a record: the run's own copies, or else the files that the run was made from."""

from __future__ import annotations

from pathlib import Path

from kbench.errors import UsageError
from kbench.model import Problem, Record
from kbench.plan.files import read_source
from kbench.plan.problems import read_problem
from kbench.store.runs import LoadedRun
from kbench.store.writer import problem_source, solution_source


def find_problem(run: LoadedRun, record: Record) -> Problem:
    """A record's problem with its sidecar, as it was judged. Raises UsageError where it is not to be had any more."""
    places = [problem_source(_folder(run), record.problem), *_places(run, "problems", record.problem)]
    looked = []
    for path in places:
        if path.is_file():
            problem = read_problem(record.problem, path)
            if problem.sha == record.problem_sha:
                return problem
            looked.append(path)
    raise _gone(f"problem {record.problem!r}", looked, places)


def find_solution(run: LoadedRun, record: Record) -> str:
    """The text of a record's solution, as it was judged. Raises UsageError where it is not to be had any more."""
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
