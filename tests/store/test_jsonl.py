from __future__ import annotations

import dataclasses
import enum
import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from kbench.errors import StoreError
from kbench.store import jsonl


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        ({1: (2, Colour.RED)}, {"1": [2, "red"]}),
        ({"b", "a"}, ["a", "b"]),
        (Point(math.nan), {"x": None}),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array([1, 2]), [1, 2]),
        (math.inf, None),
        (True, True),
    ],
)
def test_plain(value: object, expected: object) -> None:
    found = jsonl.plain(value)
    assert found == expected
    json.dumps(found, allow_nan=False)


def test_plain_names_what_is_not_finite_where_asked() -> None:
    assert jsonl.plain({"worst": [math.nan, -math.inf]}, nonfinite_text=True) == {"worst": ["nan", "-inf"]}


def test_read_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n\n{"b":NaN}\n[1]\n\xff\n{"c"')
    found = [(line.number, line.value, line.terminated, line.problem) for line in jsonl.read_lines(path)]
    assert found[0] == (1, {"a": 1}, True, "")
    assert [(number, value, terminated) for number, value, terminated, _ in found[1:]] == [
        (3, None, True), (4, None, True), (5, None, True), (6, None, False),
    ]  # fmt: skip
    problems = [problem for *_, problem in found[1:]]
    assert problems[0] == "not JSON (NaN is not JSON)"
    assert problems[1] == "a JSON list, not an object"
    assert problems[2] == "not UTF-8 (byte 0)"
    assert problems[3].startswith("not JSON (")


def test_deep_nesting_is_damage_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("[" * 200_000)
    assert next(jsonl.read_lines(path)).value is None


def test_a_line_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes five bytes and then is full."""
    path = tmp_path / "a.jsonl"
    appender = jsonl.Appender(path)
    appender.write_line(b"{}\n")
    real, calls = os.write, []

    def full(descriptor: int, data: bytes) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:5])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="cannot write") as caught:
        appender.write_line(b'{"long": "line"}\n')
    assert caught.value.why == "No space left on device"
    assert "free some space" in (caught.value.hint or "")
    assert path.read_bytes() == b"{}\n"
    monkeypatch.undo()
    appender.write_line(b"[]\n")
    appender.close()
    assert path.read_bytes() == b"{}\n[]\n"


def test_what_could_not_be_taken_back_is_taken_back_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    appender = jsonl.Appender(path)
    real = os.write

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def half(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", broken)
        return real(descriptor, data[:3])

    monkeypatch.setattr(os, "write", half)
    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(StoreError):
        appender.write_line(b"abcdef\n")
    assert path.read_bytes() == b"abc"
    monkeypatch.undo()
    appender.write_line(b"{}\n")
    assert path.read_bytes() == b"{}\n"


def test_a_full_device() -> None:
    appender = jsonl.Appender(Path("/dev/full"))
    with pytest.raises(StoreError) as caught:
        appender.write_line(b"{}\n")
    assert caught.value.why == "No space left on device"


def test_an_atomic_write_leaves_the_old_file_and_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def full(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError) as caught:
        jsonl.write_atomically(path, b"new")
    assert "writable disk" in (caught.value.hint or "")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_a_file_in_the_way_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(StoreError) as caught:
        jsonl.write_atomically(tmp_path / "logs" / "a" / "b.log", b"")
    assert "a file stands where a directory is needed" in (caught.value.hint or "")
