"""Reading a GPU, on a driver that is not there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from kbench.machine import gpu_gauge
from kbench.machine.gpu_gauge import GpuGauge, open_gpu_gauge, untold
from kbench.machine.gpus import Gpu, NvmlError
from kbench.machine.reading import Reading
from kbench.machine.telemetry import NoGauge, open_gauge

H200 = Gpu(name="NVIDIA H200", driver="580.1", memory_gb=139.8, uuid="GPU-aaaa")
OWN = {10, 11}


class FakeNvml:
    """NVML's functions as ctypes would call them, for one board. `missing` are not in the library, `failing` refuse."""

    def __init__(self, *, missing: tuple[str, ...] = (), failing: tuple[str, ...] = ()) -> None:
        self.missing, self.failing = missing, failing
        self.calls: list[str] = []
        self.reasons = 0
        self.pids = [10]

    def __getattr__(self, name: str) -> Any:
        answer = getattr(type(self), f"_{name}", None)
        if answer is None or name in self.missing:
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.failing:
                return 3  # NVML_ERROR_NOT_SUPPORTED
            answer(self, *arguments)
            return 0

        return call

    def _nvmlInit_v2(self) -> None: ...

    def _nvmlShutdown(self) -> None: ...

    def _nvmlDeviceGetHandleByUUID(self, uuid: ctypes.c_char_p, handle: Any) -> None:
        assert uuid.value == H200.uuid.encode()
        handle._obj.value = 1000

    def _nvmlDeviceGetClockInfo(self, handle: Any, which: ctypes.c_uint, value: Any) -> None:
        assert handle.value == 1000
        value._obj.value = {1: 1980, 2: 3201}[which.value]

    def _nvmlDeviceGetPowerUsage(self, _handle: Any, value: Any) -> None:
        value._obj.value = 345_678

    def _nvmlDeviceGetEnforcedPowerLimit(self, _handle: Any, value: Any) -> None:
        value._obj.value = 700_000

    def _nvmlDeviceGetTemperature(self, _handle: Any, sensor: ctypes.c_uint, value: Any) -> None:
        assert sensor.value == 0
        value._obj.value = 41

    def _nvmlDeviceGetTemperatureThreshold(self, _handle: Any, which: ctypes.c_uint, value: Any) -> None:
        value._obj.value = {0: 92, 1: 87}[which.value]

    def _nvmlDeviceGetCurrentClocksEventReasons(self, _handle: Any, value: Any) -> None:
        value._obj.value = self.reasons

    _nvmlDeviceGetCurrentClocksThrottleReasons = _nvmlDeviceGetCurrentClocksEventReasons

    def _nvmlDeviceGetComputeRunningProcesses_v3(self, _handle: Any, count: Any, infos: Any) -> None:
        assert count._obj.value >= len(self.pids)
        count._obj.value = len(self.pids)
        for info, pid in zip(infos, self.pids, strict=False):
            info.pid = pid


def gauge(library: FakeNvml, own: Callable[[], set[int]] = lambda: OWN) -> GpuGauge:
    return GpuGauge(library, H200.uuid, own)


WHOLE = Reading(
    sm_clock_mhz=1980, memory_clock_mhz=3201, power_w=345.678, power_limit_w=700.0, temperature_c=41, slowdown_c=87,
    reasons=(), other_processes=0,
)  # fmt: skip


def test_every_figure_is_read() -> None:
    library = FakeNvml()
    opened = gauge(library)
    assert opened.read() == WHOLE
    opened.close()
    assert library.calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (0x0, ()), (0x1, ("gpu_idle",)), (0x2, ("applications_clocks",)), (0x4, ("sw_power_cap",)),
        (0x8, ("hw_slowdown",)), (0x10, ("sync_boost",)), (0x20, ("sw_thermal",)), (0x40, ("hw_thermal",)),
        (0x80, ("hw_power_brake",)), (0x100, ("display_clock",)), (0x48, ("hw_slowdown", "hw_thermal")),
        (1 << 40, ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("missing", [(), ("nvmlDeviceGetCurrentClocksEventReasons",)])
def test_reasons_are_words_under_either_name_of_the_function(
    mask: int, words: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    library = FakeNvml(missing=missing)
    library.reasons = mask
    reading = gauge(library).read()
    assert reading is not None and reading.reasons == words


FIGURES = {
    "nvmlDeviceGetClockInfo": {"sm_clock_mhz", "memory_clock_mhz"},
    "nvmlDeviceGetPowerUsage": {"power_w"},
    "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_w"},
    "nvmlDeviceGetTemperature": {"temperature_c"},
    "nvmlDeviceGetTemperatureThreshold": {"slowdown_c"},
    "nvmlDeviceGetComputeRunningProcesses_v3": {"other_processes"},
}
REASONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")


@pytest.mark.parametrize("how", ["missing", "failing"])
@pytest.mark.parametrize("names", [*((name,) for name in FIGURES), REASONS], ids=lambda names: names[0])
def test_a_function_that_is_missing_or_fails_costs_its_own_figures_only(names: tuple[str, ...], how: str) -> None:
    gone: dict[str, Any] = {how: names}
    reading = gauge(FakeNvml(**gone)).read()
    assert reading is not None
    lost = {name for name in vars(WHOLE) if getattr(reading, name) != getattr(WHOLE, name)}
    assert lost == FIGURES.get(names[0], {"reasons"})
    assert all(getattr(reading, name) is None for name in lost)


def test_where_nothing_can_be_read_there_is_no_reading() -> None:
    assert gauge(FakeNvml(failing=(*FIGURES, *REASONS))).read() is None


@pytest.mark.parametrize(
    ("pids", "others"), [([10], 0), ([10, 11], 0), ([11, 77], 1), ([10, 77, 78], 2), ([77, 78], None), ([], None)]
)
def test_processes_that_are_not_ours_are_counted_where_ours_are_seen(pids: list[int], others: int | None) -> None:
    library = FakeNvml()
    library.pids = pids
    reading = gauge(library).read()
    assert reading is not None and reading.other_processes == others


def test_our_own_tree_is_looked_at_again_only_when_the_list_changes() -> None:
    looks: list[int] = []

    def own() -> set[int]:
        looks.append(1)
        return {10, 11, 12}

    library = FakeNvml()
    opened = gauge(library, own)
    seen = []
    for library.pids in ([10, 77], [77, 10], [10, 12], [10, 12], [10, 77]):
        reading = opened.read()
        assert reading is not None
        seen.append(reading.other_processes)
    assert (seen, len(looks)) == ([1, 1, 0, 0, 1], 3)


@pytest.mark.parametrize("failing", ["nvmlInit_v2", "nvmlDeviceGetHandleByUUID"])
@pytest.mark.parametrize("how", ["missing", "failing"])
def test_a_driver_that_does_not_begin_is_no_gauge(monkeypatch: pytest.MonkeyPatch, failing: str, how: str) -> None:
    gone: dict[str, Any] = {how: (failing,)}
    library = FakeNvml(**gone)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    assert open_gpu_gauge(H200.uuid, lambda: OWN) is None
    assert ("nvmlShutdown" in library.calls) == (failing != "nvmlInit_v2")
    with open_gauge(H200, own=lambda: OWN) as opened:
        assert isinstance(opened, NoGauge)
        opened.begin()
        assert opened.read() is None
    assert untold(H200.uuid) is None


def test_a_gauge_is_closed_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    with open_gauge(H200, own=lambda: OWN) as opened:
        assert opened.read() == WHOLE
        assert "nvmlShutdown" not in library.calls
    assert library.calls[-1] == "nvmlShutdown"


def test_without_a_driver_or_a_name_there_is_no_gauge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_gauge, "load_nvml", lambda: FakeNvml())
    assert open_gpu_gauge("", lambda: OWN) is None
    monkeypatch.setattr(gpu_gauge, "load_nvml", lambda: None)
    assert open_gpu_gauge(H200.uuid, lambda: OWN) is None


@pytest.mark.parametrize(
    ("failing", "found"),
    [((), ()), (REASONS, ("throttle reasons",)), (("nvmlDeviceGetClockInfo",), ("clocks",)),
     ((*FIGURES, *REASONS), None)],
)  # fmt: skip
def test_what_a_driver_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...], found: tuple[str, ...] | None
) -> None:
    library = FakeNvml(failing=failing)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    assert untold(H200.uuid) == found
    assert library.calls[-1] == "nvmlShutdown"


def test_a_refusal_has_a_type_of_its_own() -> None:
    with pytest.raises(NvmlError):
        gauge(FakeNvml(failing=("nvmlInit_v2",)))
