"""What a sandboxed process left, read on the trusted side: of bounded size, and of the agreed form or not at all."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MAX_BYTES = 64 << 20
_MAX_LINES = 200_000
_MAX_TEXT = 8_000
_MAX_COUNT = 1 << 40


class Malformed(Exception):
    """An answer that does not have the agreed form; the text says what is wrong with it."""


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


def lines(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text, one a line. Raises Malformed, also for too many."""
    rows = text.splitlines()
    if len(rows) > _MAX_LINES:
        raise Malformed(f"the answer has more than {_MAX_LINES} lines")
    for number, line in enumerate(rows, start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"line {number} is no JSON") from error
        if not isinstance(value, dict):
            raise Malformed(f"line {number} is no object")
        yield value


def text_of(line: dict[str, Any], name: str) -> str:
    """A text of bounded length. Raises Malformed."""
    value = line.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} is no text")
    return value[:_MAX_TEXT]


def number_of(line: dict[str, Any], name: str, *, most: float) -> float:
    """A finite number from 0 to `most`. Raises Malformed."""
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


def count_of(line: dict[str, Any], name: str) -> int:
    """A whole number that counts something. Raises Malformed."""
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise Malformed(f"{name} is no number of anything")
    return value
