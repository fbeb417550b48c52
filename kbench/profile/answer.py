"""What the sandbox left, read on the trusted side: of bounded size, and of the agreed form or not at all."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.profile.model import Event, Resources
from kbench.profile.trace import COPY, FILL, KERNEL, OPERATOR

_MAX_BYTES = 64 << 20
_MAX_LINES = 200_000
_MAX_TEXT = 8_000
_MAX_COUNT = 1 << 40
_MAX_US = 1e12


class Malformed(Exception):
    """An answer that does not have the agreed form; the text says what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The program's own word that the module raised, and in which stage."""

    stage: str
    error: str


def read_file(path: Path) -> str:
    """A file from a folder that the candidate could write: no link is followed. Raises Malformed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Malformed(f"no answer ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Malformed("the answer is no file")
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise Malformed(f"the answer has more than {_MAX_BYTES} bytes")
    return data.decode(errors="replace")


def read_events(text: str) -> tuple[Event, ...] | Failed:
    """The events of an answer that has its end, or the failure it tells of. Raises Malformed."""
    events: list[Event] = []
    for line in _lines(text):
        kind = line.get("kind")
        if kind == "end":
            return tuple(events)
        if kind == "failed":
            return Failed(stage=_text(line, "stage"), error=_text(line, "error"))
        if kind not in (KERNEL, COPY, FILL, OPERATOR):
            raise Malformed(f"an event of an unknown kind: {str(kind)[:40]!r}")
        events.append(
            Event(
                kind=kind,
                name=_text(line, "name"),
                start_us=_number(line, "start_us", most=math.inf),
                time_us=_number(line, "time_us", most=_MAX_US),
                calls=_count(line, "calls") if "calls" in line else 1,
                registers=_count(line, "registers") if "registers" in line else None,
                shared_bytes=_count(line, "shared_bytes") if "shared_bytes" in line else None,
                grid=_extent(line, "grid"),
                block=_extent(line, "block"),
            )
        )
    raise Malformed("the answer has no end")


def read_resources(text: str) -> tuple[Resources, ...]:
    """The kernels of a build, by name. Raises Malformed."""
    found = {}
    for line in _lines(text):
        kernel = Resources(
            name=_text(line, "name"),
            mangled=_text(line, "mangled"),
            library=_text(line, "library"),
            registers=_count(line, "registers"),
            stack_bytes=_count(line, "stack_bytes"),
            shared_bytes=_count(line, "shared_bytes"),
            local_bytes=_count(line, "local_bytes") if "local_bytes" in line else None,
        )
        found[kernel.library, kernel.mangled] = kernel
    return tuple(sorted(found.values(), key=lambda kernel: (kernel.name, kernel.mangled)))


def _lines(text: str) -> Iterator[dict[str, Any]]:
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise Malformed(f"the answer has more than {_MAX_LINES} lines")
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"line {number} is no JSON") from error
        if not isinstance(value, dict):
            raise Malformed(f"line {number} is no object")
        yield value


def _text(line: dict[str, Any], name: str) -> str:
    value = line.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} is no text")
    return value[:_MAX_TEXT]


def _number(line: dict[str, Any], name: str, *, most: float) -> float:
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{name} is no number")
    try:
        number = float(value)
    except OverflowError:
        raise Malformed(f"{name} is too large") from None
    if not (math.isfinite(number) and 0 <= number <= most):
        raise Malformed(f"{name} cannot be {number:g}")
    return number


def _count(line: dict[str, Any], name: str) -> int:
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise Malformed(f"{name} is no number of anything")
    return value


def _extent(line: dict[str, Any], name: str) -> tuple[int, ...]:
    value = line.get(name, [])
    if not isinstance(value, list) or len(value) not in (0, 3):
        raise Malformed(f"{name} is no extent in three dimensions")
    return tuple(_count({name: part}, name) for part in value)
