"""The run directory (design.md §8): what a run writes, and how a killed one goes on.

    run.yaml        environment, options, versions
    records.jsonl   one line a pair, appended and synced as each ends
    samples.jsonl   the raw samples of each pair, written before its record
    telemetry.jsonl the device's state once a block (`kbench.machine.reading`), likewise
    speedups.csv, speedups.md
    logs/<solution id>/<name>.log
    sources/<solution id>.py, sources/<problem id>.problem.py, sources/<problem id>.problem.yaml
    .lock           held while a process writes here

A pair counts once its record line is whole: samples and readings without a record are dropped on resume.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import kbench
from kbench.errors import StoreError, UsageError
from kbench.machine.telemetry import PlacedReading
from kbench.model import SCHEMA_VERSION, Record, Sample
from kbench.store.jsonl import Appender, cannot_write, encode_line, plain, read_lines, write_all, write_atomically
from kbench.store.repair import drop_orphans, drop_unfinished, mend_end
from kbench.store.runs import (
    LATER_ENVIRONMENTS,
    RECORDS_FILE,
    RUN_FILE,
    SAMPLES_FILE,
    TELEMETRY_FILE,
    Key,
    LoadedRun,
    load_run,
    parse_record,
    read_header,
    record_of,
)

__all__ = ["LoadedRun", "RunStore", "load_run", "log_files", "problem_source", "solution_source"]

LOCK_FILE = ".lock"
_EVIDENCE = (SAMPLES_FILE, TELEMETRY_FILE)
"""What belongs to a record and is written before it."""


class RunStore:
    """A run directory that this process alone writes to, from `create` or `resume` until `close`."""

    def __init__(self, path: Path, lock: int, header: Mapping[str, Any], records: dict[Key, Record]) -> None:
        self.path = path
        self.options: Mapping[str, Any] = header["options"]
        self.environment: Mapping[str, Any] = header["environment"]
        self.environment_key = str(self.environment.get("key", ""))
        """Of the machine that records are made on now."""
        self._header = header
        self.records = records
        """In the order they ended."""
        self._lock, self._owner = lock, os.getpid()
        self._files: dict[str, Appender] = {}
        try:
            for name in (*_EVIDENCE, RECORDS_FILE):
                self._files[name] = Appender(path / name)
        except StoreError:
            self._close_files()
            raise

    @classmethod
    def create(cls, path: Path, *, options: Mapping[str, Any], environment: Mapping[str, Any]) -> RunStore:
        """Begin a run in `path`, which is made, parents too. `options["started"]` is when it began.

        Raises UsageError where the directory already holds a run, StoreError where it cannot be written or
        another process writes there.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        lock = _acquire(path)
        try:
            taken = [name for name in (RUN_FILE, RECORDS_FILE) if (path / name).exists()]
            if taken:
                raise UsageError(
                    "the directory already holds a run", where=str(path), why=f"it has a {taken[0]}",
                    hint="--resume goes on with that run; --out DIR begins another",
                )  # fmt: skip
            drop_unfinished(path)
            header = {
                "schema_version": SCHEMA_VERSION, "kbench": kbench.__version__,
                "options": plain(options), "environment": plain(environment), LATER_ENVIRONMENTS: [],
            }  # fmt: skip
            write_atomically(path / RUN_FILE, _to_yaml(header))
            return cls(path, lock, header, {})
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def resume(cls, path: Path) -> RunStore:
        """Go on with the run in `path`, repaired where it was killed in the middle of a write.

        Raises UsageError where there is no run or a line is damaged that no kill explains, StoreError as
        `create`.
        """
        if not (path / RUN_FILE).is_file():
            raise UsageError(
                "there is no run to resume", where=str(path), why=f"it has no {RUN_FILE}",
                hint="leave --resume out to begin one",
            )  # fmt: skip
        lock = _acquire(path)
        try:
            header = read_header(path / RUN_FILE)
            records: dict[Key, Record] = {}
            records_path = path / RECORDS_FILE
            drop_unfinished(path)
            mend_end(records_path)
            for line in read_lines(records_path):
                record = record_of(line, records_path)
                records.setdefault(record.key, record)
            for name in _EVIDENCE:
                mend_end(path / name)
                drop_orphans(path / name, records)
            return cls(path, lock, header, records)
        except BaseException:
            os.close(lock)
            raise

    def go_on_in(self, environment: Mapping[str, Any]) -> None:
        """Records are made in this environment from now on. One that is new to the run is added to its description.

        Raises StoreError.
        """
        self.environment_key = str(environment["key"])
        later = self._header[LATER_ENVIRONMENTS]
        if self.environment_key not in [each.get("key") for each in (self.environment, *later)]:
            self._header = {**self._header, LATER_ENVIRONMENTS: [*later, plain(environment)]}
            write_atomically(self.path / RUN_FILE, _to_yaml(self._header))

    def append(
        self, record: Record, samples: Sequence[Sample] = (), readings: Sequence[PlacedReading] = ()
    ) -> Record:
        """Write a pair's samples and readings, then its record, and have the disk hold both before returning.

        Returns the record as it can be read back: numbers that are not finite are gone (no file holds them).
        Raises StoreError where the pair has a record already or the disk refuses; nothing half-written stays.
        """
        if record.key in self.records:
            raise StoreError("a pair was recorded twice", where=str(self.path), why=f"{record.id} has a record already")
        data = _storable(record)
        try:
            kept = parse_record(data)
        except (ValueError, TypeError) as error:
            raise StoreError("a record cannot be stored", where=record.id, why=str(error)) from error
        owner = {"problem": record.problem, "solution": record.solution}
        lines = {
            SAMPLES_FILE: [owner | plain(sample) for sample in samples],
            TELEMETRY_FILE: [owner | plain(reading.to_json()) for reading in readings],
            RECORDS_FILE: [data],
        }
        before = {name: file.length for name, file in self._files.items()}
        try:
            for name, values in lines.items():
                for value in values:
                    self._files[name].write_line(encode_line(value))
                if values:
                    self._files[name].sync()
        except BaseException:
            for name, file in self._files.items():
                file.cut_back(before[name])
            raise
        self.records[record.key] = kept
        return kept

    def log_path(self, solution_id: str, name: str) -> Path:
        """Where the log `name` of a solution goes; its directory is made. Raises StoreError."""
        return log_path(self.path, solution_id, name)

    def save_source(self, solution_id: str, source: str | Path) -> Path:
        """Keep what was judged: the text of a solution, or a copy of the file. Raises StoreError."""
        return _save(solution_source(self.path, solution_id), source)

    def save_problem_source(self, problem_id: str, source: str | Path) -> Path:
        """The same for a problem."""
        return _save(problem_source(self.path, problem_id), source)

    def save_sidecar(self, problem_id: str, sidecar: Path) -> Path:
        """The same for a problem's sidecar, beside its source and found there as any sidecar is."""
        return _save(problem_source(self.path, problem_id).with_suffix(".yaml"), sidecar)

    def write_tables(self) -> tuple[Path, Path]:
        """Write speedups.csv and speedups.md anew, from all records. Raises StoreError."""
        from kbench.report.csv import run_csv
        from kbench.report.markdown import run_markdown

        run = LoadedRun(
            path=self.path, records=self.records, options=self.options, environment=self.environment,
            later_environments=tuple(self._header[LATER_ENVIRONMENTS]),
        )  # fmt: skip
        table, page = self.path / "speedups.csv", self.path / "speedups.md"
        write_atomically(table, run_csv(run).encode())
        write_atomically(page, run_markdown(run).encode())
        return table, page

    def close(self) -> None:
        """Release the directory. A second call does nothing."""
        self._close_files()
        if self._lock >= 0:
            # Unlocking, unlike closing, also works where a forked child still shares the descriptor; such a child
            # that unwinds through here itself must not take the lock from its parent.
            if os.getpid() == self._owner:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = -1

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def solution_source(run: Path, solution_id: str) -> Path:
    """Where a run keeps the source of a solution."""
    return _below(run / "sources", solution_id + ".py")


def problem_source(run: Path, problem_id: str) -> Path:
    """Where a run keeps the source of a problem; `.problem` sets it apart from a solution of the same id."""
    return _below(run / "sources", problem_id + ".problem.py")


def log_path(run: Path, solution_id: str, name: str) -> Path:
    """Where the log `name` of a solution goes; its directory is made. Raises StoreError."""
    path = _below(run / "logs", solution_id) / f"{_component(name)}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    return path


def log_files(run: Path, solution_id: str) -> list[Path]:
    """The logs a run has of a solution, by name."""
    return sorted(path for path in _below(run / "logs", solution_id).glob("*.log") if path.is_file())


def _acquire(path: Path) -> int:
    """Lock a directory for this process. Raises StoreError at once where another one has it.

    The lock lives as long as the descriptor: exec closes it, a plain fork shares it. A child forked from the
    process that writes must close it, or it goes on holding the run.
    """
    try:
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(path / LOCK_FILE, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        write_all(lock, f"{os.getpid()}\n".encode())
    except BlockingIOError as error:
        holder = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        raise StoreError(
            "another kbench run is writing there", where=str(path),
            why=f"process {holder} holds its lock" if holder.isdigit() else "its lock is held",
            hint="wait for it to end, or choose another directory with --out",
        ) from error  # fmt: skip
    except OSError as error:
        os.close(lock)
        raise cannot_write(path / LOCK_FILE, error) from error
    return lock


def _storable(record: Record) -> dict[str, Any]:
    """The record as JSON data: numbers that are not finite as null, in the evidence by name.

    An interval with an end that is not finite says nothing (a single replicate), so none is stored.
    """
    data: dict[str, Any] = plain(record) | {"evidence": plain(record.evidence, nonfinite_text=True)}
    if data["speedup_low"] is None or data["speedup_high"] is None:
        data["speedup_low"] = data["speedup_high"] = None
    return data


def _to_yaml(header: Mapping[str, Any]) -> bytes:
    import yaml

    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True).encode()


def _save(path: Path, source: str | Path) -> Path:
    if isinstance(source, str):
        write_atomically(path, source.encode("utf-8", "surrogateescape"))
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    except (OSError, shutil.SameFileError) as error:
        raise cannot_write(path, error) from error
    return path


def _below(root: Path, identity: str) -> Path:
    """The path of an id below `root`. Raises StoreError for an id that would lead out of it."""
    return root.joinpath(*(_component(part) for part in identity.split("/")))


def _component(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise StoreError("a name cannot be a file's", where=repr(name), why="it is empty or leads elsewhere")
    return name
