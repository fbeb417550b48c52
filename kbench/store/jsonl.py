"""Lines of JSON on disk: a kill loses at most the line in flight, and damage is named.

Only files whose every line is one JSON object ending in a newline are meant here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from kbench.errors import StoreError


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a file, as found."""

    number: int
    """Counted from 1."""
    raw: bytes
    """Without its newline."""
    offset: int
    """Where it begins, in bytes."""
    terminated: bool
    """It ends in a newline; a line that does not was cut while it was being written."""
    value: dict[str, Any] | None
    """The object it holds, or None where it holds none."""
    problem: str = ""
    """Why it holds none."""


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file that are not blank. Raises OSError where the file cannot be read."""
    offset = 0
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            start, offset = offset, offset + len(raw)
            body = raw.rstrip(b"\r\n")
            if not body.strip():
                continue
            value, problem = _parse(body)
            yield Line(
                number=number, raw=body, offset=start, terminated=raw.endswith(b"\n"),
                value=value, problem=problem,
            )  # fmt: skip


def _parse(raw: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        return None, f"not JSON ({error.msg} at column {error.colno})"
    except RecursionError:
        return None, "not JSON (nested too deeply)"
    except ValueError as error:
        return None, f"not JSON ({error})"
    if not isinstance(value, dict):
        return None, f"a JSON {type(value).__name__}, not an object"
    return value, ""


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def plain(value: Any, *, nonfinite_text: bool = False) -> Any:
    """`value` in terms of dict, list, str, int, float, bool and None, fit for JSON and YAML.

    A float that is not finite becomes None, or with `nonfinite_text` its name ("nan"): for free-form
    evidence, where the fact matters and no reader computes with it. Lone surrogates, which UTF-8 cannot hold,
    become U+FFFD.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value, nonfinite_text=nonfinite_text)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else (str(float(value)) if nonfinite_text else None)
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item, nonfinite_text=nonfinite_text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, nonfinite_text=nonfinite_text) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(str(item)) for item in value)
    if callable(getattr(value, "tolist", None)):  # A NumPy or torch number or array.
        return plain(value.tolist(), nonfinite_text=nonfinite_text)
    return plain(str(value))


def encode_line(value: Mapping[str, Any]) -> bytes:
    """One line with its newline. `value` must be plain: NaN and infinity raise ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def write_all(descriptor: int, data: bytes) -> None:
    """os.write, again while the system took only a part (a nearly full disk). Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Replace `path` by `data`: a reader sees the old file or the new one. Raises StoreError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            for part in (data,) if isinstance(data, bytes) else data:
                write_all(descriptor, part)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        scratch.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # The first error is the one to report.
            scratch.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def unfinished(folder: Path) -> list[Path]:
    """What a killed `write_atomically` left in `folder`. Its writers must be gone."""
    return [path for path in folder.glob(".*.tmp") if path.suffixes[-2:-1] and path.suffixes[-2][1:].isdigit()]


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The StoreError for a failed write, with a hint for the usual causes."""
    why = error.strerror or str(error)
    hints = {
        "ENOSPC": "free some space on that disk, then go on with --resume",
        "EDQUOT": "the disk quota is used up: free some space, then go on with --resume",
        "EROFS": "choose a directory on a writable disk with --out",
        "EACCES": "choose a directory you may write to with --out",
        "EPERM": "choose a directory you may write to with --out",
        "ENOTDIR": "a file stands where a directory is needed: choose another --out",
        "EEXIST": "a file stands where a directory is needed: choose another --out",
        "EISDIR": "a directory stands where a file is needed: choose another --out",
    }
    hint = hints.get(errno.errorcode.get(error.errno or 0, ""), "choose another directory with --out")
    return StoreError("cannot write to the run directory", where=str(path), why=why, hint=hint)


class Appender:
    """A file that grows by whole lines only: a write that fails is taken back before the error is raised."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._length = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise cannot_write(path, error) from error

    @property
    def length(self) -> int:
        """Bytes up to the end of the last whole line."""
        return self._length

    def write_line(self, line: bytes) -> None:
        """Append one encoded line. Raises StoreError, with the file as it was before."""
        try:
            # What an earlier failure could not take back is taken back now, or the new line would join it.
            if os.fstat(self._descriptor).st_size != self._length:
                os.ftruncate(self._descriptor, self._length)
            write_all(self._descriptor, line)
        except OSError as error:
            self.cut_back(self._length)
            raise cannot_write(self.path, error) from error
        self._length += len(line)

    def sync(self) -> None:
        """Have the disk hold what was written. Raises StoreError."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def cut_back(self, length: int) -> None:
        """Forget everything past `length` bytes, as far as the disk still allows."""
        self._length = length
        # Where this fails the next write tries again, and a reader takes an unfinished line for what it is.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, length)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
