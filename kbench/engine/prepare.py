"""From options to a planned run: which device, which GPUs, which pairs."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kbench.config import BLOCKS, RunOptions
from kbench.errors import NothingToDo, UsageError
from kbench.machine.environment import Available, probe, resolve_device
from kbench.machine.gpus import Gpu, see_only, take
from kbench.machine.inventory import Inventory, take_inventory
from kbench.machine.tools import find_tool
from kbench.model import Device, Job
from kbench.plan.discover import Discovery, discover


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A planned run that has not begun."""

    options: RunOptions
    available: Available
    inventory: Inventory
    device: Device
    gpus: tuple[Gpu, ...]
    """Those that the run takes; none where it is on the CPU, or only builds."""
    discovery: Discovery

    @property
    def gpu(self) -> Gpu | None:
        """The first of them."""
        return next(iter(self.gpus), None)

    @property
    def blocks(self) -> int:
        """Of each replicate."""
        usual = BLOCKS[self.device]
        return self.options.blocks or (usual // 2 if self.options.half_blocks else usual)

    @property
    def jobs(self) -> tuple[Job, ...]:
        return self.discovery.plan.jobs


@contextmanager
def prepare(options: RunOptions, *, to_build: bool = False) -> Iterator[Prepared]:
    """Plan `options` on this machine; `to_build` plans for CUDA without a GPU as well.

    A run that takes one GPU lets this process see no other from then on (`see_only`).

    Raises UsageError or NothingToDo as `discover`, `resolve_device` and `take` do.
    """
    inventory = take_inventory()
    available = probe(inventory)
    if not available.torch:
        raise NothingToDo("torch is not installed here", hint="pip install 'torch>=2.9'; kbench doctor says more")
    taken: tuple[Gpu, ...] = ()
    if to_build and options.device.startswith("cuda") and not available.cuda:
        device = Device.CUDA
    else:
        device, index = resolve_device(options.device, available)
        if device is Device.CUDA:
            taken = take(inventory.gpus, index, options.gpus)
    if len(taken) == 1:
        see_only(taken[0], os.environ, of=len(inventory.gpus))
    if options.sanitize and not to_build:
        _look_at_sanitizer(device)
    # Made by whoever puts something into it: most runs have no raw responses.
    folder = Path(tempfile.gettempdir()) / f"kbench-responses-{secrets.token_hex(8)}"
    try:
        discovery = discover(
            options.problems, options.solutions, device=device, size=options.size,
            select=options.select, available=available, materialise=folder,
        )  # fmt: skip
        yield Prepared(
            options=options, available=available, inventory=inventory, device=device, gpus=taken, discovery=discovery
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _look_at_sanitizer(device: Device) -> None:
    """Refuse before any work what could not be done after it. Raises UsageError, NothingToDo."""
    if device is not Device.CUDA:
        raise UsageError(
            "--sanitize needs a CUDA device", why="compute-sanitizer looks at CUDA kernels only",
            hint="leave it out, or give --device cuda",
        )  # fmt: skip
    if find_tool(os.environ) is None:
        raise NothingToDo(
            "compute-sanitizer was not found", why="it is not on the path, nor below CUDA_HOME or /usr/local/cuda",
            hint="it is part of the CUDA toolkit: set CUDA_HOME, or leave --sanitize out",
        )  # fmt: skip
