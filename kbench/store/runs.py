"""Finished or unfinished runs as values: reading a run directory without touching it."""

from __future__ import annotations

import datetime
import difflib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench.errors import KbenchError, NothingToDo, StoreError, UsageError
from kbench.model import SCHEMA_VERSION, Record, Status
from kbench.store.jsonl import Line, read_lines

RUN_FILE = "run.yaml"
RECORDS_FILE = "records.jsonl"
SAMPLES_FILE = "samples.jsonl"
TELEMETRY_FILE = "telemetry.jsonl"

LATER_ENVIRONMENTS = "later_environments"
"""In a run's description: those in which it was resumed."""

Key = tuple[str, str]
"""(problem id, solution name)"""

_FINITE = ("speedup", "speedup_low", "speedup_high", "time_ms", "reference_ms", "floor_ms", "build_s")
_POSITIVE = ("speedup", "time_ms", "reference_ms")
_TYPES: tuple[tuple[tuple[str, ...], type, str], ...] = (
    (("reason", "message", "problem_sha", "solution_sha", "environment_key"), str, "text"),
    (("evidence", "baselines", "isolation"), dict, "an object"),
    (("flags", "advice", "replicate_log_ratios", "kernels"), list, "a list"),
    (("schema_version", "replicates", "verified_calls"), int, "a whole number"),
)


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A run as it was read, by `load_run`."""

    path: Path
    records: Mapping[Key, Record]
    """In the order they were written; of two with one key, the first."""
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    """In which it was begun. Empty where a bare `records.jsonl` was read."""
    later_environments: tuple[Mapping[str, Any], ...] = ()
    """In which it was resumed; a record's `environment_key` says which one it was made in."""
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run directory's name; of a records file the last two parts of its path."""
        path = self.path.absolute()
        return "/".join(path.parts[-2:]) if path.suffix == ".jsonl" else path.name

    @property
    def directory(self) -> Path | None:
        """The run directory, where there is one."""
        return self.path if self.path.is_dir() else None


def load_run(path: Path) -> LoadedRun:
    """Read a run directory, or the `records.jsonl` of one, without locking or changing it.

    An unfinished last line (a run that was killed, or that is still going on) is left out and warned of.
    Raises UsageError, naming file and line, for anything else that is damaged, for no run, and for a run
    without records.
    """
    records_path, run_path = _locate(path)
    warnings: list[str] = []
    header = _header(path, run_path, warnings)
    records: dict[Key, Record] = {}
    for line in _lines(records_path):
        if line.value is None and not line.terminated:
            warnings.append(f"{records_path}:{line.number}: the last line is unfinished and was left out")
            continue
        record = record_of(line, records_path)
        if record.schema_version > SCHEMA_VERSION:
            warnings.append(f"{records_path}:{line.number}: written by a newer kbench; what it added is ignored")
        if record.key in records:
            warnings.append(f"{records_path}:{line.number}: a second record of {record.id}; the first one counts")
            continue
        records[record.key] = record
    if not records:
        raise UsageError(
            "the run holds no records", where=str(records_path),
            why="no solution had been judged when it ended",
            hint="kbench run … --resume goes on with it",
        )  # fmt: skip
    return LoadedRun(
        path=path, records=records, options=header.get("options", {}),
        environment=header.get("environment", {}), later_environments=tuple(header.get(LATER_ENVIRONMENTS, ())),
        warnings=tuple(warnings),
    )  # fmt: skip


def _header(path: Path, run_path: Path, warnings: list[str]) -> dict[str, Any]:
    if not run_path.exists():
        return {}
    try:
        return read_header(run_path)
    except StoreError as error:
        # Who names the records file itself can do without the description; see the hint of `_damaged`.
        if path.is_dir():
            raise
        warnings.append(f"{error.where}: {error.why}; the run's environment is not known")
        return {}


def _locate(path: Path) -> tuple[Path, Path]:
    """The records file and the place of the run file for what the user named."""
    try:
        if path.is_dir():
            if (path / RUN_FILE).exists() or (path / RECORDS_FILE).exists():
                return path / RECORDS_FILE, path / RUN_FILE
            below = sorted(run.name for run in find_runs(path))[:5]
            hint = f"it has runs below it: {', '.join(below)}" if below else "kbench list shows the runs"
            raise UsageError("not a run directory", where=str(path), why=f"it has no {RUN_FILE}", hint=hint)
        if path.exists():
            return path, path.with_name(RUN_FILE)
    except OSError as error:
        raise UsageError("the run cannot be read", where=str(path), why=error.strerror) from error
    raise UsageError(
        "no such run",
        where=str(path),
        why="there is no such directory or file",
        hint="kbench list shows the runs",
    )


def _lines(path: Path) -> Iterator[Line]:
    try:
        yield from read_lines(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError("the run cannot be read", where=str(path), why=error.strerror) from error


def record_of(line: Line, path: Path) -> Record:
    """The record a line holds. Raises UsageError naming file, line and cause."""
    try:
        if line.value is None:
            raise ValueError(line.problem)
        return parse_record(line.value)
    except (ValueError, TypeError) as error:
        raise UsageError(
            "a record cannot be read", where=f"{path}:{line.number}", why=str(error),
            hint="remove that line (its pair then counts as not judged), or take the file from a backup",
        ) from error  # fmt: skip


def parse_record(data: Mapping[str, Any]) -> Record:
    """`Record.from_json`, and what a reader of the record relies on. Raises ValueError or TypeError."""
    _check_types(data)
    record = Record.from_json(data)
    for name in _FINITE:
        value = getattr(record, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"field {name!r} is not finite")
    if record.status is Status.CORRECT:
        for name in _POSITIVE:
            value = getattr(record, name)
            if value is not None and value <= 0:
                raise ValueError(f"field {name!r} is not positive")
    return record


def _check_types(data: Mapping[str, Any]) -> None:
    for names, kind, word in _TYPES:
        for name in names:
            if name in data and not isinstance(data[name], kind):
                raise ValueError(f"field {name!r} is not {word}")
    for name in ("flags", "advice"):
        if not all(isinstance(text, str) for text in data.get(name, ())):
            raise ValueError(f"field {name!r} holds something that is not text")
    if not all(isinstance(kernel, Mapping) for kernel in data.get("kernels", ())):
        raise ValueError("field 'kernels' holds something that is not an object")
    if not all(_is_finite(value) for value in data.get("replicate_log_ratios", ())):
        raise ValueError("field 'replicate_log_ratios' holds something that is not a finite number")
    deciding = data.get("deciding_replicates")
    if deciding is not None and (isinstance(deciding, bool) or not isinstance(deciding, int) or deciding < 1):
        raise ValueError("field 'deciding_replicates' is not a whole number of at least 1")
    for name, baseline in data.get("baselines", {}).items():
        if not isinstance(baseline, Mapping) or not all(_is_finite(v) for v in baseline.values() if v is not None):
            raise ValueError(f"baseline {name!r} holds something that is not a number")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_header(path: Path) -> dict[str, Any]:
    """The content of a `run.yaml`: `options` and `environment` are mappings, `later_environments` a list of them.

    Raises StoreError.
    """
    import yaml

    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError("the run cannot be read", where=str(path), why=error.strerror) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, "it is not UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise _damaged(where, getattr(error, "problem", None) or "it is not YAML") from error
    if not isinstance(header, dict):
        raise _damaged(path, "it holds no mapping")
    for name in ("options", "environment"):
        if not isinstance(header.setdefault(name, {}), dict):
            raise _damaged(path, f"{name!r} is not a mapping")
    later = header.setdefault(LATER_ENVIRONMENTS, [])
    if not isinstance(later, list) or not all(isinstance(each, dict) for each in later):
        raise _damaged(path, f"{LATER_ENVIRONMENTS!r} is not a list of mappings")
    return header


def _damaged(where: Path | str, why: str) -> StoreError:
    return StoreError(
        "the run's description is damaged", where=str(where), why=why,
        hint=f"its {RECORDS_FILE} can still be read: give that file's path instead of the directory's",
    )  # fmt: skip


def find_runs(root: Path) -> list[Path]:
    """The run directories below `root`, newest first."""
    found = []
    for folder, children, files in os.walk(root):
        if RUN_FILE in files:
            found.append(Path(folder))
            children.clear()
    return sorted(found, key=lambda run: (started(run), run.name), reverse=True)


def started(run: Path) -> float:
    """When a run began, in seconds since 1970: as its options say, or else by the age of its `run.yaml`."""
    try:
        text = read_header(run / RUN_FILE)["options"].get("started")
        if isinstance(text, int | float):
            return float(text)
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except (KbenchError, ValueError, OverflowError):
        pass
    try:
        return (run / RUN_FILE).stat().st_mtime
    except OSError:
        return 0.0


def newest_run(root: Path) -> Path:
    """The run that began last below `root`. Raises NothingToDo where there is none."""
    runs = find_runs(root)
    if not runs:
        raise NothingToDo("no runs", where=str(root), why="there is none below it", hint="kbench run makes one")
    return runs[0]


def resolve_run(named: Path, root: Path) -> Path:
    """The path a user meant: one that exists, or else the name of a run below `root`."""
    return root / named if not named.exists() and (root / named).exists() else named


def find_record(run: LoadedRun, name: str) -> Record:
    """The record called `name`, as `match_id` matches. Raises UsageError."""
    ids = {record.id: record for record in run.records.values()}
    return ids[match_id(list(ids), name, where=str(run.path))]


def match_id(ids: Sequence[str], name: str, *, where: str) -> str:
    """The id called `name`: the whole id, else the one that ends in it after a slash, else a part of one.

    Raises UsageError, with the candidates, unless exactly one id answers to it. `where` names what holds them.
    """
    wanted = name.strip("/")
    if wanted in ids:
        return wanted
    found = [known for known in ids if known.endswith(f"/{wanted}")] or [known for known in ids if wanted in known]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
        raise UsageError(
            f"{len(found)} records match {name!r}",
            where=where,
            why=shown,
            hint="give more of the name",
        )
    close = difflib.get_close_matches(wanted, ids, n=3, cutoff=0.75)
    raise UsageError(
        f"no record matches {name!r}", where=where, why=f"none of its {len(ids)} ids contains it",
        hint=f"did you mean {' or '.join(close)}?" if close else "kbench list RUN shows them",
    )  # fmt: skip
