"""ncu's key figures of a solution's own kernels: its command line, and the CSV that it answers with."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path

from kbench.build.kernels import Resources
from kbench.profile.model import Section
from kbench.profile.summary import plain_name

TIME = "gpu__time_duration.sum"
DRAM_BYTES = "dram__bytes.sum"
SM = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
MEMORY = "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed"
OCCUPANCY = "sm__warps_active.avg.pct_of_peak_sustained_active"
METRICS = (TIME, DRAM_BYTES, SM, MEMORY, OCCUPANCY)
_NAME = "Kernel Name"
_MAX_LAUNCHES = 64
_US = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3, "s": 1e6, "second": 1e6}
_BYTES = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}

ENVIRONMENT = {
    # The sandbox has no network, not even a loopback.
    "NV_COMPUTE_PROFILER_LOCAL_CONNECTION_OVERRIDE": "uds",
}


class Unreadable(Exception):
    """ncu's answer has no table that can be read; the text holds what it said instead."""


def command(tool: Path, program: Sequence[str], kernels: Sequence[Resources], *, csv_file: Path) -> list[str]:
    """The command line that measures the launches of `kernels` in `program`, its table in `csv_file`."""
    names = sorted({re.escape(plain_name(kernel.name).rpartition("::")[2]) for kernel in kernels})
    return [
        str(tool), "--profile-from-start", "off", "--clock-control", "none", "--csv", "--page", "raw",
        "--metrics", ",".join(METRICS),
        "--kernel-name-base", "function", "--kernel-name", f"regex:^({'|'.join(names)})$",
        "--launch-count", str(_MAX_LAUNCHES), "--log-file", str(csv_file), *program,
    ]  # fmt: skip


def parse(text: str) -> tuple[Section, ...]:
    """The launches in ncu's raw page: a row of names, a row of units, then a row for each. Raises Unreadable."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise Unreadable(f"its table is no CSV ({error})") from error
    if len(rows) < 3 or _NAME not in rows[0]:
        raise Unreadable(_what_it_said(text))
    names, units = rows[0], rows[1]
    if any(len(row) != len(names) for row in rows):
        raise Unreadable("the rows of its table differ in length")
    return tuple(_section(dict(zip(names, row, strict=True)), dict(zip(names, units, strict=True))) for row in rows[2:])


def _section(row: dict[str, str], units: dict[str, str]) -> Section:
    return Section(
        name=row[_NAME],
        time_us=_scaled(row, units, TIME, _US),
        sm_percent=_scaled(row, units, SM, {"%": 1.0}),
        memory_percent=_scaled(row, units, MEMORY, {"%": 1.0}),
        occupancy_percent=_scaled(row, units, OCCUPANCY, {"%": 1.0}),
        dram_bytes=_scaled(row, units, DRAM_BYTES, _BYTES),
    )


def _scaled(row: dict[str, str], units: dict[str, str], name: str, known: dict[str, float]) -> float | None:
    """A figure in the unit whose factor is 1, or None where it, or its unit, is none that is known."""
    factor = known.get(units.get(name, ""))
    try:
        value = float(row.get(name, "").replace(",", ""))
    except ValueError:
        return None
    return None if factor is None or not math.isfinite(value) or value < 0 else value * factor


def _what_it_said(text: str) -> str:
    said = [line.removeprefix("==ERROR==").strip() for line in text.splitlines() if line.startswith("==ERROR==")]
    said += [line.removeprefix("==WARNING==").strip() for line in text.splitlines() if line.startswith("==WARNING==")]
    said = [line for line in said if not line.startswith("Note:")]
    return said[0][:300] if said else "it measured no launch of an own kernel"
