"""Watching the device of a run, whose own processes are not to be taken for others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kbench.machine.gpus import Gpu
from kbench.machine.telemetry import Gauge, open_gauge
from kbench.sandbox.watch import tree


@contextmanager
def watching(gpu: Gpu | None) -> Iterator[Gauge]:
    """The gauge of the GPU that a run takes, or of the CPU (None). The fork server's workers are ours as well."""
    with open_gauge(gpu, own=lambda: tree(os.getpid())) as gauge:
        yield gauge
