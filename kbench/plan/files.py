"""Finding and reading the source files of problems and solutions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from kbench.errors import UsageError

# Candidates are hostile: past this size a file is not source, and parsing it would cost the judge gigabytes.
MAX_SOURCE_BYTES = 2**19


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file's bytes and text; `defect` says why there is no text."""

    data: bytes
    text: str
    defect: str | None = None

    @property
    def sha(self) -> str:
        return sha256_hex(self.data)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_source(path: Path) -> SourceFile:
    """Read a source file. Bytes that are not text are a defect; an unreadable file raises UsageError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}", where=str(path), why=error.strerror or str(error)) from error
    if len(data) > MAX_SOURCE_BYTES:
        return SourceFile(
            data=data, text="", defect=f"{path}: larger than {MAX_SOURCE_BYTES // 2**10} KB, so not source"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return SourceFile(data=data, text="", defect=f"{path}: not UTF-8 text (byte {error.start})")
    if "\0" in text:
        return SourceFile(data=data, text="", defect=f"{path}: not text (contains a null byte)")
    return SourceFile(data=data, text=text)


def walk(root: Path, *, suffixes: Collection[str], without: Path | None = None) -> Iterator[Path]:
    """Files below `root`, but for names that begin with `_` or `.` and the file or tree `without`.

    Raises UsageError for a folder that cannot be listed.
    """
    excluded = real_path(without) if without else None
    pending, seen = [root], set[Path]()
    while pending:
        folder = pending.pop(0)
        resolved = real_path(folder)
        if resolved in seen:  # symbolic links may form a ring
            continue
        seen.add(resolved)
        for entry in _entries(folder):
            if entry.name[0] in "_." or real_path(entry) == excluded:
                continue
            if entry.is_dir():
                pending.append(entry)
            elif entry.is_file() and entry.suffix.lower() in suffixes:
                yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    except OSError as error:
        raise UsageError(
            f"cannot list {folder}", where=str(folder), why=error.strerror or str(error)
        ) from error


def real_path(path: Path) -> Path:
    """The path without symbolic links; a link that leads nowhere or in a ring is left as it is."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key by which `2_b` comes before `10_a`."""
    parts = re.split(r"(\d+)", text)
    return tuple(
        (0, int(part)) if part.isdecimal() and part.isascii() else (1, part) for part in parts if part
    )


def id_below(path: Path, root: Path) -> str:
    """The path below `root` without its suffix, with forward slashes."""
    return path.relative_to(root).with_suffix("").as_posix()
