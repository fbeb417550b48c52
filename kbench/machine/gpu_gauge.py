"""One GPU's clocks, power, temperature and processes through NVML. Microseconds a figure; no CUDA."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterable
from typing import Any

from kbench.machine.gpus import NvmlError, call_nvml, load_nvml
from kbench.machine.reading import Reading

REASONS = {
    0x1: "gpu_idle", 0x2: "applications_clocks", 0x4: "sw_power_cap", 0x8: "hw_slowdown", 0x10: "sync_boost",
    0x20: "sw_thermal", 0x40: "hw_thermal", 0x80: "hw_power_brake", 0x100: "display_clock",
}  # fmt: skip
"""nvml.h, nvmlClocksEventReason…: the bits of the mask, by the same meaning under their older name too."""
_REASONS_FUNCTIONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
_CLOCK_SM, _CLOCK_MEMORY = ctypes.c_uint(1), ctypes.c_uint(2)
_SENSOR_GPU = ctypes.c_uint(0)
_THRESHOLD_SLOWDOWN = ctypes.c_uint(1)
_MOST_PROCESSES = 128


class _ProcessInfo(ctypes.Structure):
    """nvmlProcessInfo_v2_t, which nvmlDeviceGetComputeRunningProcesses_v3 fills."""

    _fields_ = (
        ("pid", ctypes.c_uint), ("used_memory", ctypes.c_ulonglong), ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )  # fmt: skip


class GpuGauge:
    """Raises nothing once it is open: a figure that the driver refuses is None."""

    def __init__(self, library: Any, uuid: str, own: Callable[[], Iterable[int]]) -> None:
        """Raises NvmlError, or AttributeError for a driver without the functions that it takes to begin."""
        self._library = library
        self._own = own
        self._handle = ctypes.c_void_p()
        self._listed: frozenset[int] = frozenset()
        self._others: int | None = None
        call_nvml(library.nvmlInit_v2)
        try:
            call_nvml(library.nvmlDeviceGetHandleByUUID, ctypes.c_char_p(uuid.encode()), ctypes.byref(self._handle))
        except (NvmlError, AttributeError):
            self.close()
            raise
        self._power_limit_mw = self._number("nvmlDeviceGetEnforcedPowerLimit")
        self._slowdown_c = self._number("nvmlDeviceGetTemperatureThreshold", _THRESHOLD_SLOWDOWN)

    def begin(self) -> None:
        """Every figure is of the moment."""

    def read(self) -> Reading | None:
        """The GPU now, or None where the driver gives no figure at all."""
        reading = Reading(
            sm_clock_mhz=self._number("nvmlDeviceGetClockInfo", _CLOCK_SM),
            memory_clock_mhz=self._number("nvmlDeviceGetClockInfo", _CLOCK_MEMORY),
            power_w=_watts(self._number("nvmlDeviceGetPowerUsage")),
            power_limit_w=_watts(self._power_limit_mw),
            temperature_c=self._number("nvmlDeviceGetTemperature", _SENSOR_GPU),
            slowdown_c=self._slowdown_c,
            reasons=self._reasons(),
            other_processes=self._other_processes(),
        )
        return None if reading == Reading() else reading

    def close(self) -> None:
        with contextlib.suppress(NvmlError, AttributeError):
            call_nvml(self._library.nvmlShutdown)

    def _number(self, name: str, *arguments: Any, kind: Any = ctypes.c_uint) -> int | None:
        value = kind()
        try:
            call_nvml(getattr(self._library, name), self._handle, *arguments, ctypes.byref(value))
        except (NvmlError, AttributeError):  # AttributeError: a driver without this function
            return None
        return int(value.value)

    def _reasons(self) -> tuple[str, ...] | None:
        for name in _REASONS_FUNCTIONS:
            mask = self._number(name, kind=ctypes.c_ulonglong)
            if mask is not None:
                return tuple(word for bit, word in REASONS.items() if mask & bit)
        return None

    def _other_processes(self) -> int | None:
        """None also where none of our own is listed: the list is of another PID namespace, or of no processes."""
        listed = self._compute_processes()
        if listed is None:
            return None
        if listed != self._listed or self._others is None:  # the same list needs no second look at our own tree
            own = set(self._own())
            self._listed, self._others = listed, len(listed - own) if listed & own else None
        return self._others

    def _compute_processes(self) -> frozenset[int] | None:
        infos, count = (_ProcessInfo * _MOST_PROCESSES)(), ctypes.c_uint(_MOST_PROCESSES)
        try:
            function = self._library.nvmlDeviceGetComputeRunningProcesses_v3
            call_nvml(function, self._handle, ctypes.byref(count), infos)
        except (NvmlError, AttributeError):
            return None
        return frozenset(infos[index].pid for index in range(min(count.value, _MOST_PROCESSES)))


def open_gpu_gauge(uuid: str, own: Callable[[], Iterable[int]]) -> GpuGauge | None:
    """The gauge of the GPU `uuid`, or None where NVML does not know it."""
    library = load_nvml()
    if library is None or not uuid:
        return None
    try:
        return GpuGauge(library, uuid, own)
    except (NvmlError, AttributeError):
        return None


def untold(uuid: str) -> tuple[str, ...] | None:
    """The figures of a GPU that its driver does not give, by name; None: NVML gives nothing at all.

    Processes are left out: whether ours are seen is known only once they are there.
    """
    gauge = open_gpu_gauge(uuid, lambda: ())
    if gauge is None:
        return None
    try:
        reading = gauge.read()
    finally:
        gauge.close()
    if reading is None:
        return None
    figures = {
        "clocks": reading.sm_clock_mhz, "power": reading.power_w, "temperature": reading.temperature_c,
        "throttle reasons": reading.reasons,
    }  # fmt: skip
    return tuple(name for name, value in figures.items() if value is None)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
