"""What comes out of the sandbox is of the agreed form, or a named error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kbench.build.kernels import read_resources
from kbench.profile.answer import Failed, read_events
from kbench.profile.trace import device_events, operator_events
from kbench.sandbox import answers
from kbench.sandbox.answers import Malformed, read_file

TRACE = {
    "traceEvents": [
        {"ph": "M", "name": "process_name", "args": {"name": "python"}},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 1, "dur": 9},
        {"ph": "X", "cat": "kernel", "name": "void fused<float>(float*)", "ts": 10.5, "dur": 4.25, "args": {
            "registers per thread": 38, "shared memory": 192, "grid": [64, 128, 1], "block": [256, 1, 1],
            "est. achieved occupancy %": 90}},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoD", "ts": 20, "dur": 2, "args": {"bytes": 8}},
        {"ph": "X", "cat": "gpu_memset", "name": "Memset", "ts": 23, "dur": 1},
        {"ph": "f", "cat": "ac2g", "name": "ac2g", "ts": 23},
    ]
}  # fmt: skip
KERNEL = {"kind": "kernel", "name": "k", "start_us": 1.0, "time_us": 2.0, "grid": [1, 2, 3], "block": [4, 5, 6]}
END = {"kind": "end"}
RESOURCE = {
    "name": "f(int)", "mangled": "_Z1fi", "library": "a.so", "registers": 1, "stack_bytes": 0, "shared_bytes": 0,
}  # fmt: skip


def lines(*values: Any) -> str:
    return "".join(f"{json.dumps(value)}\n" for value in values)


def test_a_trace_becomes_events() -> None:
    events = read_events(lines(*device_events(TRACE), END))
    assert isinstance(events, tuple)
    assert [(e.kind, e.time_us) for e in events] == [("kernel", 4.25), ("memcpy", 2), ("memset", 1)]
    kernel = events[0]
    assert (kernel.grid, kernel.block, kernel.registers, kernel.shared_bytes) == ((64, 128, 1), (256, 1, 1), 38, 192)


@pytest.mark.parametrize("trace", [{}, {"traceEvents": [{"cat": "kernel", "name": "k"}]}])
def test_a_trace_of_another_form_is_an_error_in_the_sandbox(trace: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        list(device_events(trace))


def test_operators_come_with_their_self_times() -> None:
    class Row:
        key, count, self_cpu_time_total = "aten::mul", 20, 5.5

    events = read_events(lines(*operator_events([Row()]), END))
    assert isinstance(events, tuple)
    assert [(e.kind, e.name, e.calls, e.time_us) for e in events] == [("operator", "aten::mul", 20, 5.5)]


def test_a_failure_is_told() -> None:
    assert read_events(lines({"kind": "failed", "stage": "call", "error": "no"})) == Failed(stage="call", error="no")


@pytest.mark.parametrize(
    "text",
    ["", lines(KERNEL), "nonsense\n", "[" * 100_000, lines([KERNEL], END), lines({"kind": "verdict"}, END),
     lines({"kind": ["end"]})]
    + [lines({**KERNEL, **wrong}, END) for wrong in (
        {"name": 1}, {"name": None}, {"time_us": -1}, {"time_us": "2"}, {"time_us": True}, {"time_us": 1e30},
        {"time_us": 10**400}, {"start_us": float("nan")}, {"start_us": float("inf")}, {"grid": [1, 2]}, {"grid": 7},
        {"block": [1, 2, -3]}, {"block": [1, 2, 3.5]}, {"calls": 2**50}, {"registers": "all"}, {"shared_bytes": -1},
    )]
    + [lines({"kind": "failed", "stage": 3, "error": ""})],
)  # fmt: skip
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        read_events(text)


def test_an_answer_is_not_endless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(answers, "_MAX_LINES", 3)
    monkeypatch.setattr(answers, "_MAX_BYTES", 10)
    with pytest.raises(Malformed, match="lines"):
        read_events(lines(KERNEL, KERNEL, KERNEL, END))
    (tmp_path / "long").write_text("x" * 11)
    with pytest.raises(Malformed, match="bytes"):
        read_file(tmp_path / "long")


def test_no_link_is_followed_and_nothing_but_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    for name in ("link", "missing", "."):
        with pytest.raises(Malformed):
            read_file(tmp_path / name)


def test_resources_are_read_by_name() -> None:
    later = {**RESOURCE, "name": "a(int)", "mangled": "_Z1ai", "local_bytes": 8}
    assert [(r.name, r.local_bytes) for r in read_resources(lines(RESOURCE, later, RESOURCE))] == [
        ("a(int)", 8), ("f(int)", None),
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [{"registers": -1}, {"name": None}, {"stack_bytes": 1.5}, {"local_bytes": "x"}])
def test_malformed_resources_are_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read_resources(lines({**RESOURCE, **wrong}))
