"""Responses from files, folders and standard input, and candidates into files."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from kbench.errors import UsageError
from kbench.extract.choose import extract
from kbench.extract.model import Extracted, Extraction, NothingUsable, Reason

STDIN = Path("-")
TEXT_SUFFIXES = frozenset({".txt", ".md", ".response"})
JSON_SUFFIXES = frozenset({".json", ".jsonl"})
TEXT_FIELDS = ("response", "text", "completion", "content")
NAME_FIELDS = ("id", "name")

_NOT_UTF8 = "the file is not UTF-8: the bytes that are not were replaced by U+FFFD"
_ODD_CHARS = re.compile(r"[^\w.+-]+")


def extract_paths(paths: Sequence[Path], *, stdin: str | None = None) -> list[tuple[str, Extraction]]:
    """Every response under `paths` with its candidate, in order, under unique names safe as relative paths.

    A path is a file, a folder (searched for .txt, .md, .response, .json and .jsonl) or `-`, meaning `stdin`.
    Raises UsageError for a path that is missing, unreadable, or a folder without responses.
    """
    found: list[tuple[str, Extraction]] = []
    for path in paths:
        if path == STDIN:
            found.append(("stdin", extract(stdin or "")))
        elif _is_folder(path):
            for file in _responses_in(path):
                name = file.relative_to(path).with_suffix("").as_posix()
                found += _extract_file(file, name)
        else:
            found += _extract_file(path, path.stem)
    return _with_unique_names(found)


def write_solution(extraction: Extracted, out_dir: Path, name: str, *, force: bool = False) -> Path:
    """Write the source to `<out_dir>/<name>.py`, whole or not at all, and return that path.

    Raises UsageError where the file exists with different contents (unless `force`) or cannot be written.
    """
    path = out_dir / f"{_safe_name(name)}.py"
    content = extraction.source.encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not force:
            if path.read_bytes() == content:
                return path
            raise UsageError(
                "will not overwrite a different solution",
                where=str(path),
                why="a file with other contents is there already",
                hint="give --force, or another --out folder",
            )
        _write_atomically(path, content)
    except OSError as error:
        raise UsageError(
            f"cannot write solution {name!r}",
            where=str(path),
            why=error.strerror or str(error),
            hint="is --out a folder that you may write to?",
        ) from error
    return path


def _write_atomically(path: Path, content: bytes) -> None:
    descriptor, temporary_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".tmp")
    temporary = Path(temporary_name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would keep the file from workers under another uid
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission to look: reading it says so in full
        return False


def _responses_in(folder: Path) -> list[Path]:
    try:
        os.listdir(folder)  # which rglob would pass over in silence where it may not
    except OSError as error:
        raise UsageError("cannot read a folder", where=str(folder), why=error.strerror or str(error)) from error
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TEXT_SUFFIXES | JSON_SUFFIXES)
    files = [path for path in files if path.is_file()]
    if not files:
        raise UsageError(
            "no responses in this folder",
            where=str(folder),
            why="it has no .txt, .md, .response, .json or .jsonl file",
            hint="name the files themselves: any suffix is read then",
        )
    return files


def _extract_file(path: Path, name: str) -> Iterator[tuple[str, Extraction]]:
    text, note = _read(path)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        named = _extract_json_lines(text, name)
    elif suffix == ".json":
        named = _extract_json(text, name)
    else:
        named = iter([(name, extract(text))])
    return ((each, _noted(extraction, note)) for each, extraction in named)


def _read(path: Path) -> tuple[str, str]:
    """The text, and a remark about its encoding or ""."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "cannot read a response",
            where=str(path),
            why=error.strerror or str(error),
            hint="a PATH is a file, a folder, or - for standard input",
        ) from error
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        return data.decode("utf-8", errors="replace"), _NOT_UTF8


def _noted(extraction: Extraction, note: str) -> Extraction:
    if not note:
        return extraction
    if isinstance(extraction, Extracted):
        return replace(extraction, explanation=f"{extraction.explanation}; {note}")
    return replace(extraction, message=f"{extraction.message}; {note}")


def _extract_json_lines(text: str, name: str) -> Iterator[tuple[str, Extraction]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield from _extract_json(line, f"{name}-{number}", where=f"line {number} of the file ")


def _extract_json(text: str, name: str, *, where: str = "the file ") -> Iterator[tuple[str, Extraction]]:
    """One response per object; a fault in one is its result, so that it does not stop the others."""
    try:
        loaded = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        message = f"{where}is not JSON: {error or 'nested too deeply'}"
        yield name, NothingUsable(reason=Reason.DOES_NOT_PARSE, message=message)
        return
    records = loaded if isinstance(loaded, list) else [loaded]
    for index, record in enumerate(records, start=1):
        default = f"{name}-{index}" if len(records) > 1 else name
        yield _record_name(record) or default, _extract_record(record)
    if not records:
        yield name, NothingUsable(reason=Reason.EMPTY, message=f"{where}holds no objects")


def _record_name(record: object) -> str | None:
    values = (record.get(field) for field in NAME_FIELDS) if isinstance(record, dict) else ()
    usable = (str(value) for value in values if isinstance(value, (str, int)) and not isinstance(value, bool))
    return next((value for value in usable if value.strip()), None)


def _extract_record(record: object) -> Extraction:
    values = (record.get(field) for field in TEXT_FIELDS) if isinstance(record, dict) else ()
    text = next((value for value in values if isinstance(value, str)), None)
    if text is None:
        message = f"no field of {', '.join(TEXT_FIELDS)} holds a string"
        return NothingUsable(reason=Reason.EMPTY, message=message)
    return extract(text)


def _safe_name(name: str) -> str:
    """A relative path of plain parts: a response's own `id` must not lead out of the out folder."""
    parts = (_ODD_CHARS.sub("_", part).lstrip(".")[:120] for part in PurePosixPath(name).parts)
    return "/".join(part for part in parts if part.strip("_")) or "response"


def _with_unique_names(found: Sequence[tuple[str, Extraction]]) -> list[tuple[str, Extraction]]:
    times: dict[str, int] = {}
    unique: list[tuple[str, Extraction]] = []
    for raw, extraction in found:
        name = base = _safe_name(raw)
        while name in times:
            times[base] += 1
            name = f"{base}-{times[base]}"
        times[name] = 1
        unique.append((name, extraction))
    return unique
