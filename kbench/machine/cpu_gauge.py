"""The clock of the used cores, and the share of their time that others took: what Linux gives at little cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kbench.machine.reading import Reading

_WINDOW_S = 1.0
_LEAST_WINDOW_S = 0.25
"""The kernel counts in ticks of 10 ms: over less than this they say little."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CORES_ASKED = 8
"""Of so many at most the clock is read: on some processors that takes a millisecond each."""


@dataclass(frozen=True, kw_only=True)
class _Mark:
    """Counters at one moment, in ticks."""

    total: int
    busy: int
    own: Mapping[int, int]
    """By process."""


class CpuGauge:
    """Others are whoever took the used cores' time and is not in our own tree: other programs, other guests."""

    def __init__(
        self,
        own: Callable[[], Iterable[int]],
        *,
        cores: Collection[int] | None = None,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
    ) -> None:
        self._own = own
        self._cores = frozenset(os.sched_getaffinity(0) if cores is None else cores)
        self._proc, self._sys = proc, sys
        self._steps: list[tuple[int, int]] = []
        """(ticks of all used cores, ticks that others took), the latest last."""
        self._mark = self._look()

    def begin(self) -> None:
        """The load is measured from now on: builds and other short processes that ended before are not our tree."""
        self._steps.clear()
        self._mark = self._look()

    def read(self) -> Reading | None:
        """The cores now, or None where Linux gives no figure at all."""
        reading = Reading(cpu_clock_mhz=self._clock_mhz(), other_load=self._other_load())
        return None if reading == Reading() else reading

    def _other_load(self) -> float | None:
        before, self._mark = self._mark, self._look()
        if before is None or self._mark is None:
            return None
        now = self._mark
        own = sum(ticks - before.own.get(pid, 0) for pid, ticks in now.own.items())
        self._steps.append((now.total - before.total, now.busy - before.busy - own))
        window = _WINDOW_S * _TICKS_PER_S * len(self._cores)
        while sum(total for total, _ in self._steps[1:]) >= window:
            del self._steps[0]
        total, others = (sum(step[part] for step in self._steps) for part in (0, 1))
        if total < _LEAST_WINDOW_S * _TICKS_PER_S * len(self._cores):
            return None
        return round(min(1.0, max(0.0, others / total)), 3)  # a tick of ours may be counted late

    def _look(self) -> _Mark | None:
        """Our own first: what runs in between then counts as the others', and looking is what runs."""
        own = {pid: ticks for pid in self._own() if (ticks := self._process_ticks(pid)) is not None}
        counted = self._core_ticks()
        return None if counted is None else _Mark(total=counted[0], busy=counted[1], own=own)

    def _core_ticks(self) -> tuple[int, int] | None:
        """All ticks of the used cores, and those that were not idle (proc(5): guest time is in user time)."""
        try:
            lines = [line.split() for line in (self._proc / "stat").read_text().splitlines()]
            rows = [[int(f) for f in fields[1:9]] for fields in lines if _core_of(fields) in self._cores]
        except (OSError, ValueError):
            return None
        if len(rows) != len(self._cores) or any(len(row) < 8 for row in rows):
            return None
        total = sum(map(sum, rows))
        return total, total - sum(row[3] + row[4] for row in rows)

    def _process_ticks(self, pid: int) -> int | None:
        """User and system time of a process's threads; None once it is gone."""
        try:
            fields = (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
        except (OSError, ValueError, IndexError):
            return None

    def _clock_mhz(self) -> int | None:
        found = []
        for core in sorted(self._cores)[:_CORES_ASKED]:
            path = self._sys / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"
            try:
                found.append(int(path.read_text()) // 1000)
            except (OSError, ValueError):
                return None
        return max(found, default=None)


def _core_of(fields: list[str]) -> int | None:
    """7 of a line `cpu7 …`; None of any other line, the sum of all cores among them."""
    number = fields[0].removeprefix("cpu") if fields and fields[0].startswith("cpu") else ""
    return int(number) if number.isdecimal() else None
