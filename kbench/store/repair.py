"""Mending the files of a run that was killed in the middle of a write. The caller holds the run's lock."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from pathlib import Path

from kbench.errors import UsageError
from kbench.store.jsonl import Line, cannot_write, read_lines, unfinished, write_atomically


def drop_unfinished(folder: Path) -> None:
    """Remove what was to replace a file in `folder` when the kill came. Raises StoreError."""
    try:
        for path in unfinished(folder):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def mend_end(path: Path) -> Path | None:
    """Make every line of the file a whole one; a file that is not there is made.

    A last line that holds no JSON object is moved to `<file>.damaged-<n>`, whose path is returned; one that
    is whole but for its newline gets it. Lines before the last are not touched: no kill explains damage
    there. Raises StoreError where the directory cannot be written.
    """
    try:
        path.touch()
        last: Line | None = None
        for last in read_lines(path):  # noqa: B007 - the last one is what is wanted
            pass
        if last is None:
            return None
        if last.value is None:
            return _set_aside(path, last)
        if not last.terminated:
            with path.open("ab") as stream:
                stream.write(b"\n")
    except OSError as error:
        raise cannot_write(path, error) from error
    return None


def _set_aside(path: Path, line: Line) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    write_atomically(aside, line.raw)
    os.truncate(path, line.offset)
    return aside


def drop_orphans(path: Path, pairs: Container[tuple[object, object]]) -> int:
    """Keep only the samples, or readings, of `pairs`, those with a record; a kill cut the others short.

    Returns how many were dropped. Raises UsageError for a line that is not JSON, StoreError as `mend_end`.
    """
    orphans = sum(not _belongs(line, path, pairs) for line in read_lines(path))
    if orphans:
        write_atomically(path, _kept(path, pairs))
    return orphans


def _kept(path: Path, pairs: Container[tuple[object, object]]) -> Iterator[bytes]:
    for line in read_lines(path):
        if _belongs(line, path, pairs):
            yield line.raw + b"\n"


def _belongs(line: Line, path: Path, pairs: Container[tuple[object, object]]) -> bool:
    if line.value is None:
        raise UsageError(
            "a line cannot be read", where=f"{path}:{line.number}", why=line.problem,
            hint="remove that line, or take the file from a backup",
        )  # fmt: skip
    return (line.value.get("problem"), line.value.get("solution")) in pairs
