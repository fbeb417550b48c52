"""What was read of a device at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Each figure is None where the driver or the kernel does not give it."""

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    temperature_c: int | None = None
    slowdown_c: int | None = None
    """The temperature from which the GPU slows itself down."""
    reasons: tuple[str, ...] | None = None
    """Why the GPU's clock is not higher, in the words of `kbench.machine.gpu_gauge.REASONS`."""
    other_processes: int | None = None
    """Processes with a CUDA context on the GPU that are not kbench's."""
    cpu_clock_mhz: int | None = None
    """The fastest of the cores that a run uses."""
    other_load: float | None = None
    """The share of the used cores' time that others than kbench took over about the last second."""
