"""What is concluded from readings that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from kbench.machine.gpu_gauge import REASONS
from kbench.machine.reading import Reading
from kbench.measure.spoiled import FLAGS, advise


def readings(hits: int, *, of: int = 100, usual: dict[str, Any] | None = None, **hit: Any) -> list[Reading]:
    """`hits` readings of `of` differ from the usual ones by `hit`."""
    basis: dict[str, Any] = {
        "sm_clock_mhz": 1980, "power_w": 500.0, "power_limit_w": 700.0, "temperature_c": 50, "slowdown_c": 87,
        "reasons": (), "other_processes": 0, "other_load": 0.0,
    } | (usual or {})  # fmt: skip
    return [Reading(**(basis | (hit if index < hits else {}))) for index in range(of)]


def flags(found: list[Reading]) -> list[str]:
    return [advice.flag for advice in advise(found)]


def test_nothing_is_said_of_a_quiet_device_or_of_none() -> None:
    assert advise(readings(0)) == ()
    assert advise([]) == ()
    assert advise([Reading()] * 10) == ()


@pytest.mark.parametrize(
    ("hit", "flag", "said"),
    [
        ({"sm_clock_mhz": 1755}, "clock_fell", "the SM clock fell 1980→1755 MHz in 12% of the readings: "),
        ({"reasons": ("sw_power_cap",)}, "throttled", "the power limit held the clock down in 12% of the readings "
         "(limit 700 W): "),
        ({"reasons": ("hw_slowdown",)}, "throttled", "the hardware cut the clock in 12% of the readings: "),
        ({"reasons": ("sync_boost",)}, "throttled", "the clock followed another GPU's of its sync group in 12%"),
        ({"reasons": ("sw_thermal",)}, "throttled", "the driver held the clock down for the heat in 12%"),
        ({"reasons": ("hw_thermal",)}, "throttled", "the hardware cut the clock for the heat in 12%"),
        ({"reasons": ("hw_power_brake",)}, "throttled", "the power supply asked for a lower clock in 12%"),
        ({"temperature_c": 88}, "gpu_hot", "the GPU was at 88 °C, and slows itself down from 87 °C, in 12% of the "),
        ({"other_processes": 1}, "gpu_shared", "another process was on the GPU in 12% of the readings: "),
        ({"other_processes": 3}, "gpu_shared", "3 other processes were on the GPU in 12% of the readings: "),
    ],
)  # fmt: skip
def test_each_trouble_has_its_flag_and_its_sentence(hit: dict[str, Any], flag: str, said: str) -> None:
    (advice,) = advise(readings(12, **hit))
    assert advice.flag == flag
    assert advice.sentence.startswith(said)
    assert flag in FLAGS


@pytest.mark.parametrize(
    "hit", [{"sm_clock_mhz": 1000}, {"reasons": ("hw_thermal",)}, {"temperature_c": 99}, {"other_processes": 5}]
)
def test_what_is_rare_is_not_worth_a_word(hit: dict[str, Any]) -> None:
    assert flags(readings(4, **hit)) == []
    assert len(flags(readings(5, **hit))) == 1


@pytest.mark.parametrize(("mhz", "found"), [(1965, []), (1950, []), (1935, ["clock_fell"])])
def test_a_step_or_two_of_the_clock_is_no_fall(mhz: int, found: list[str]) -> None:
    assert flags(readings(50, sm_clock_mhz=mhz)) == found


def test_the_clock_of_an_idle_gpu_says_nothing() -> None:
    assert flags(readings(30, sm_clock_mhz=345, reasons=("gpu_idle",))) == []


def test_a_clock_that_is_low_most_of_the_time_has_fallen_too() -> None:
    (advice,) = advise(readings(80, sm_clock_mhz=1410))
    assert advice.sentence.startswith("the SM clock fell 1980→1410 MHz in 80% of the readings")


@pytest.mark.parametrize("reason", ["gpu_idle", "applications_clocks", "display_clock"])
def test_some_reasons_spoil_nothing(reason: str) -> None:
    assert reason in REASONS.values()
    assert advise(readings(100, reasons=(reason,))) == ()


@pytest.mark.parametrize("word", REASONS.values())
def test_every_reason_of_the_driver_is_known_here(word: str) -> None:
    harmless = {"gpu_idle", "applications_clocks", "display_clock"}
    assert (advise(readings(100, reasons=(word,))) == ()) == (word in harmless)


@pytest.mark.parametrize(("load", "found"), [(0.09, []), (0.11, ["machine_busy"])])
def test_a_busy_machine(load: float, found: list[str]) -> None:
    assert flags(readings(100, other_load=load)) == found


def test_how_busy_it_was_on_average() -> None:
    (advice,) = advise(readings(50, other_load=0.5))
    assert advice.sentence.startswith("others took 25% of the cores' time: ")


def test_several_troubles_are_all_named_and_one_figure_missing_hides_no_other() -> None:
    found = readings(50, usual={"other_load": None, "slowdown_c": None}, sm_clock_mhz=1500,
                     reasons=("hw_thermal", "hw_slowdown"), temperature_c=99, other_processes=2)  # fmt: skip
    assert flags(found) == ["clock_fell", "throttled", "throttled", "gpu_shared"]


def test_whoever_is_told_to_change_a_clock_or_a_limit_is_told_that_it_needs_root() -> None:
    for hit in ({"sm_clock_mhz": 1500}, {"reasons": ("sw_power_cap",)}):
        (advice,) = advise(readings(50, **hit))
        assert "nvidia-smi" in advice.sentence and "root" in advice.sentence
