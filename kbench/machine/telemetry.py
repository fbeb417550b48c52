"""How the device stands while something is timed on it: clocks, power, temperature, and who else is there.

Every figure is read outside the timed windows and without a call to CUDA.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from kbench.machine.cpu_gauge import CpuGauge
from kbench.machine.gpu_gauge import open_gpu_gauge
from kbench.machine.gpus import Gpu
from kbench.machine.reading import Reading


class Gauge(Protocol):
    """Reads one device for as long as a run lasts."""

    def begin(self) -> None:
        """What is measured over a time (the load) is measured from now on."""
        ...

    def read(self) -> Reading | None:
        """The device now; None where nothing can be read of it."""
        ...


class NoGauge:
    """For a device that nothing can be read of."""

    def begin(self) -> None: ...

    def read(self) -> Reading | None:
        return None


@dataclass(frozen=True, kw_only=True)
class PlacedReading:
    """A reading, and the visit at whose end it was taken (see `kbench.model.Sample`)."""

    replicate: int
    block: int
    position: int
    side: str
    reading: Reading

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary on one level, without what is not known."""
        place = {"replicate": self.replicate, "block": self.block, "position": self.position, "side": self.side}
        figures = {name: value for name, value in dataclasses.asdict(self.reading).items() if value is not None}
        return place | figures


@contextmanager
def open_gauge(gpu: Gpu | None, *, own: Callable[[], Iterable[int]]) -> Iterator[Gauge]:
    """The gauge of a GPU, or of the CPU (None). `own` gives the processes that are kbench's, which are no others."""
    if gpu is None:
        yield CpuGauge(own)
        return
    gauge = open_gpu_gauge(gpu.uuid, own)
    try:
        yield gauge or NoGauge()
    finally:
        if gauge is not None:
            gauge.close()
