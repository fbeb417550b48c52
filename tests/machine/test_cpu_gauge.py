"""The load of a machine whose counters are written down beforehand."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kbench.machine.cpu_gauge import CpuGauge
from kbench.machine.reading import Reading
from kbench.machine.telemetry import open_gauge

HZ = os.sysconf("SC_CLK_TCK")


@dataclass
class Machine:
    """Two cores that a run uses and one that it does not; every second all of their time is given to someone."""

    root: Path
    cores: dict[int, list[int]] = field(default_factory=lambda: {n: [1000] * 8 for n in range(3)})
    processes: dict[int, int] = field(default_factory=lambda: {10: 5})

    def write(self) -> None:
        lines = ["cpu  9 9 9 9 9 9 9 9 0 0"]
        lines += [f"cpu{core} {' '.join(map(str, ticks))} 0 0" for core, ticks in self.cores.items()]
        (self.root / "stat").write_text("\n".join([*lines, "intr 1 2 3", "ctxt 7"]) + "\n")
        for pid, ticks in self.processes.items():
            (self.root / str(pid)).mkdir(exist_ok=True)
            before = " ".join(["0"] * 10)
            (self.root / str(pid) / "stat").write_text(f"{pid} (a) b (c) S {before} {ticks} 3 700 700 20\n")

    def pass_by(self, seconds: float, *, own: float = 0.0, others: float = 0.0, stolen: float = 0.0) -> None:
        """On each of the used cores, in core-seconds a second; the rest is idle or waiting for the disk."""
        ticks = seconds * HZ
        for core in (0, 1):
            user, nice, system, idle, iowait, irq, softirq, steal = self.cores[core]
            rest = 1 - own - others - stolen
            self.cores[core] = [
                user + round(ticks * own), nice + round(ticks * others), system, idle + round(ticks * rest / 2),
                iowait + round(ticks * rest / 2), irq, softirq, steal + round(ticks * stolen),
            ]  # fmt: skip
        self.cores[2][0] += round(ticks)
        self.processes[10] += round(2 * ticks * own)
        self.write()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path)
    found.write()
    return found


def gauge(machine: Machine) -> CpuGauge:
    return CpuGauge(lambda: list(machine.processes), cores=(0, 1), proc=machine.root, sys=machine.root)


def load(opened: CpuGauge) -> float | None:
    reading = opened.read()
    return None if reading is None else reading.other_load


@pytest.mark.parametrize(
    ("own", "others", "stolen", "found"),
    [(0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.5, 0.25, 0.0, 0.25), (0.0, 0.0, 0.5, 0.5), (0.25, 0.5, 0.25, 0.75)],
)
def test_the_others_share_is_what_is_neither_idle_nor_ours(
    machine: Machine, own: float, others: float, stolen: float, found: float
) -> None:
    opened = gauge(machine)
    machine.pass_by(1.0, own=own, others=others, stolen=stolen)
    assert load(opened) == pytest.approx(found, abs=0.01)  # half a tick is none


def test_it_is_that_of_about_the_last_second(machine: Machine) -> None:
    opened = gauge(machine)
    found = []
    for others in (1.0, 0.0, 0.0, 0.0):
        machine.pass_by(0.5, others=others)
        found.append(load(opened))
    assert found == [1.0, 0.5, 0.0, 0.0]


def test_over_too_short_a_time_nothing_is_said(machine: Machine) -> None:
    opened = gauge(machine)
    found = []
    for _ in range(3):
        machine.pass_by(0.1, others=1.0)
        found.append(load(opened))
    assert found == [None, None, 1.0]


def test_what_was_before_the_beginning_does_not_count(machine: Machine) -> None:
    opened = gauge(machine)
    machine.pass_by(1.0, others=1.0)
    load(opened)
    machine.pass_by(1.0, others=1.0)
    opened.begin()
    machine.pass_by(1.0)
    assert load(opened) == 0.0


def test_a_process_of_ours_that_is_new_counts_and_one_that_went_does_no_harm(machine: Machine) -> None:
    opened = gauge(machine)
    machine.processes[11] = round(0.5 * HZ)
    machine.pass_by(1.0, others=0.5)
    assert load(opened) == pytest.approx(0.25, abs=0.02)  # its half a second and 3 ticks of system time are ours
    del machine.processes[11]
    machine.pass_by(1.0, own=0.5)
    assert load(opened) == 0.0


@pytest.mark.parametrize("text", ["", "cpu0 1 2 3\ncpu1 1 2 3\n", "cpu0 a b c d e f g h\n", "cpu0 1 1 1 1 1 1 1 1\n"])
def test_counters_that_cannot_be_read_are_no_reading(machine: Machine, text: str) -> None:
    (machine.root / "stat").write_text(text)
    opened = gauge(machine)
    assert opened.read() is None
    (machine.root / "stat").unlink()
    assert opened.read() is None


def test_the_clock_is_the_fastest_used_cores(machine: Machine) -> None:
    for core, khz in enumerate((2_100_000, 3_400_000, 5_000_000)):
        folder = machine.root / f"devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    assert gauge(machine).read() == Reading(cpu_clock_mhz=3400)


def test_this_machine_can_be_read() -> None:
    with open_gauge(None, own=lambda: (os.getpid(),)) as opened:
        assert isinstance(opened, CpuGauge)
        opened.begin()
        share = load(opened)
    assert share is None or 0 <= share <= 1
