"""What the readings say against a measurement: a flag and a sentence for each thing that may have spoiled it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kbench.machine.reading import Reading

_LEAST_FALL = 0.02
"""By so much a clock has to be lower than its highest reading: GPUs change it in steps of 15 MHz, under 1%."""
_LEAST_SHARE = 0.05
"""Of the readings: what is rarer moves no median."""
_LEAST_LOAD = 0.1
_IDLE = "gpu_idle"
_WARM_UP_HINT = "rest the GPU between runs, or fix its clock (nvidia-smi -lgc MHZ, which needs root)"
_REASONS = {
    "sw_power_cap": ("the power limit held the clock down", "kernels that draw much do this by themselves; compare "
                     "only runs under the same limit (raising it, nvidia-smi -pl W, needs root)"),
    "hw_slowdown": ("the hardware cut the clock", "look at the GPU's cooling and its power supply"),
    "sync_boost": ("the clock followed another GPU's of its sync group", "take the GPU out of the group, or keep the "
                   "others of it idle"),
    "sw_thermal": ("the driver held the clock down for the heat", "let the GPU cool down, and look at its cooling"),
    "hw_thermal": ("the hardware cut the clock for the heat", "let the GPU cool down, and look at its cooling"),
    "hw_power_brake": ("the power supply asked for a lower clock", "the machine as a whole draws too much: keep its "
                       "other GPUs idle"),
}  # fmt: skip
"""What spoils a measurement, and what can be done. A clock that its user has fixed, or an idle GPU's, does not."""
FLAGS = ("clock_fell", "throttled", "gpu_hot", "gpu_shared", "machine_busy")


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Something that may have spoiled a measurement: its flag, what was seen and what can be done, in words."""

    flag: str
    sentence: str


def advise(readings: Sequence[Reading]) -> tuple[Advice, ...]:
    """All that these readings of one pair's measurement give reason for; nothing where they are none."""
    return (*_clock(readings), *_throttled(readings), *_hot(readings), *_shared(readings), *_busy(readings))


def _clock(readings: Sequence[Reading]) -> Iterator[Advice]:
    """Idle GPUs lower their clock, which says nothing about the samples before."""
    known = [r for r in readings if r.sm_clock_mhz is not None and _IDLE not in (r.reasons or ())]
    clocks = [r.sm_clock_mhz for r in known if r.sm_clock_mhz is not None]
    highest = max(clocks, default=0)
    fallen = [clock for clock in clocks if clock < (1 - _LEAST_FALL) * highest]
    if not _often(len(fallen), clocks):
        return
    to = round(statistics.median_low(fallen))
    yield Advice(
        flag="clock_fell",
        sentence=f"the SM clock fell {highest}→{to} MHz in {_share(len(fallen), clocks)} of the readings: "
        f"{_WARM_UP_HINT}",
    )  # fmt: skip


def _throttled(readings: Sequence[Reading]) -> Iterator[Advice]:
    known = [r for r in readings if r.reasons is not None]
    for reason, (what, remedy) in _REASONS.items():
        hit = [r for r in known if reason in (r.reasons or ())]
        if _often(len(hit), known):
            sentence = f"{what} in {_share(len(hit), known)} of the readings{_power(reason, hit)}: {remedy}"
            yield Advice(flag="throttled", sentence=sentence)


def _power(reason: str, hit: Sequence[Reading]) -> str:
    limits = [r.power_limit_w for r in hit if r.power_limit_w is not None]
    return f" (limit {limits[0]:.0f} W)" if reason == "sw_power_cap" and limits else ""


def _hot(readings: Sequence[Reading]) -> Iterator[Advice]:
    known = [(r.temperature_c, r.slowdown_c) for r in readings if r.temperature_c is not None and r.slowdown_c]
    hot = [(now, limit) for now, limit in known if now >= limit]
    if _often(len(hot), known):
        yield Advice(
            flag="gpu_hot",
            sentence=f"the GPU was at {max(hot)[0]} °C, and slows itself down from {hot[0][1]} °C, in "
            f"{_share(len(hot), known)} of the readings: let it cool down, and look at its cooling",
        )  # fmt: skip


def _shared(readings: Sequence[Reading]) -> Iterator[Advice]:
    known = [r.other_processes for r in readings if r.other_processes is not None]
    hit = [count for count in known if count > 0]
    if _often(len(hit), known):
        most = max(hit)
        who = "another process was" if most == 1 else f"{most} other processes were"
        yield Advice(
            flag="gpu_shared",
            sentence=f"{who} on the GPU in {_share(len(hit), known)} of the readings: end what runs there, or take "
            "another GPU (--device cuda:1)",
        )  # fmt: skip


def _busy(readings: Sequence[Reading]) -> Iterator[Advice]:
    loads = [r.other_load for r in readings if r.other_load is not None]
    if loads and statistics.mean(loads) > _LEAST_LOAD:
        yield Advice(
            flag="machine_busy",
            sentence=f"others took {statistics.mean(loads):.0%} of the cores' time: end other programs, or measure "
            "on a machine that is not shared",
        )  # fmt: skip


def _often(hits: int, of: Sequence[object]) -> bool:
    return hits > 0 and hits >= _LEAST_SHARE * len(of)


def _share(hits: int, of: Sequence[object]) -> str:
    return f"{hits / len(of):.0%}"
