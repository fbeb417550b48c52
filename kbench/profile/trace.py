"""What torch.profiler saw, as plain events. Runs inside the sandbox; the trusted side reads the events anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

KERNEL, COPY, FILL, OPERATOR = "kernel", "memcpy", "memset", "operator"
WHOLE = "kbench.forward"
"""What one forward is called among the operators: its self time is Python's, and that of the solution's own C++."""
_CATEGORIES = {"kernel": KERNEL, "gpu_memcpy": COPY, "gpu_memset": FILL}


def device_events(trace: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Kernels, copies and fills of a Chrome trace (`export_chrome_trace`): times in µs, as they stand there."""
    for event in trace["traceEvents"]:
        kind = _CATEGORIES.get(event.get("cat", ""))
        if kind is None or event.get("ph", "X") != "X":
            continue
        seen = {"kind": kind, "name": event["name"], "start_us": event["ts"], "time_us": event["dur"]}
        facts = event.get("args", {})
        for field, key in (
            ("registers", "registers per thread"), ("shared_bytes", "shared memory"), ("grid", "grid"),
            ("block", "block"),
        ):  # fmt: skip
            if key in facts:
                seen[field] = facts[key]
        yield seen


def operator_events(averages: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """One event for each operator of `key_averages()`: its calls and self time, all of them together."""
    for row in averages:
        if row.count and row.self_cpu_time_total >= 0:
            yield {
                "kind": OPERATOR, "name": row.key, "start_us": 0.0, "time_us": row.self_cpu_time_total,
                "calls": row.count,
            }  # fmt: skip
