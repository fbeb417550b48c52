"""One candidate's file, read into a `Solution`: a Python file, or a model's raw response around one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kbench.errors import UsageError
from kbench.model import Device, Solution
from kbench.plan.files import SourceFile, read_source, sha256_hex
from kbench.plan.source import SourceFacts, read_facts

RESPONSE_SUFFIXES = (".txt", ".md")
SUFFIXES = (".py", *RESPONSE_SUFFIXES)

_UNKNOWN = SourceFacts(parses=False)


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a solution lies, before anything of it was read."""

    problem_id: str
    name: str
    path: Path

    @property
    def id(self) -> str:
        return f"{self.problem_id}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A solution, and what its text needs to be built and run."""

    solution: Solution
    facts: SourceFacts


def read_candidate(location: Location, *, materialise: Path) -> Candidate:
    """Read a solution. A file without a candidate in it is a Solution with a `defect`, never an exception.

    The source found in a raw response is written to `materialise/<problem id>/<name>.py`, which the
    solution's `path` then names; its `shown_path` stays the response. Raises UsageError for an unreadable
    file.
    """
    file = read_source(location.path)
    if file.defect is not None:
        return _defective(location, file, file.defect)
    if location.path.suffix.lower() in RESPONSE_SUFFIXES:
        return _read_response(location, file, materialise)
    return _candidate(location, text=file.text, path=location.path, sha=file.sha, line_offset=0)


def _read_response(location: Location, file: SourceFile, materialise: Path) -> Candidate:
    from kbench.extract import NothingUsable, extract

    found = extract(file.text)
    if isinstance(found, NothingUsable):
        return _defective(location, file, f"{location.path}: {found.message} ({found.reason.value})")
    path = materialise / location.problem_id / f"{location.name}.py"
    data = found.source.encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(
            f"cannot write the source found in {location.path}",
            where=str(path),
            why=error.strerror or str(error),
        ) from error
    offset = found.first_line - 1
    return _candidate(location, text=found.source, path=path, sha=sha256_hex(data), line_offset=offset)


def _candidate(location: Location, *, text: str, path: Path, sha: str, line_offset: int) -> Candidate:
    facts = read_facts(text)
    solution = Solution(
        problem_id=location.problem_id,
        name=location.name,
        path=path,
        sha=sha,
        devices=facts.devices,
        line_offset=line_offset,
        shown_path=str(location.path),
    )
    return Candidate(solution=solution, facts=facts)


def _defective(location: Location, file: SourceFile, defect: str) -> Candidate:
    solution = Solution(
        problem_id=location.problem_id,
        name=location.name,
        path=location.path,
        sha=file.sha,
        devices=frozenset(Device),
        defect=defect,
        shown_path=str(location.path),
    )
    return Candidate(solution=solution, facts=_UNKNOWN)
