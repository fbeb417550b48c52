"""The machine's fingerprint, what can run on it, and which device a run takes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import kbench
from kbench.errors import NothingToDo, UsageError
from kbench.machine.gpus import Gpu
from kbench.machine.inventory import Inventory, take_inventory
from kbench.model import Device

_KEY_LENGTH = 12
_DEVICE = re.compile(r"cuda(?::(\d{1,4}))?")


@dataclass(frozen=True, kw_only=True)
class Available:
    """What a run can count on here."""

    cuda: bool
    """A GPU that CUDA would see, and a torch built for CUDA."""
    cuda_devices: int
    """How many GPUs a run can use; 0 where `cuda` is false."""
    nvcc: bool
    compiler: bool
    torch: bool
    why_no_cuda: str = ""
    """What is missing, where `cuda` is false."""


def probe(inventory: Inventory | None = None) -> Available:
    """What can run here. Looks at the machine unless an inventory is given."""
    inventory = inventory or take_inventory()
    missing = _missing_for_cuda(inventory)
    return Available(
        cuda=not missing,
        cuda_devices=0 if missing else len(inventory.gpus),
        nvcc=inventory.nvcc is not None,
        compiler=inventory.compiler is not None,
        torch=inventory.torch is not None,
        why_no_cuda=" and ".join(missing),
    )


def _missing_for_cuda(inventory: Inventory) -> list[str]:
    missing = []
    if not inventory.gpus:
        hidden = f"CUDA_VISIBLE_DEVICES hides {inventory.hidden_gpus} GPU(s)"
        missing.append(hidden if inventory.hidden_gpus else "no NVIDIA GPU or driver was found")
    if inventory.torch is None:
        missing.append("torch is not installed")
    elif inventory.torch.cuda is None:
        missing.append(f"torch {inventory.torch.version} is built without CUDA")
    return missing


def resolve_device(text: str, available: Available) -> tuple[Device, int]:
    """The device and its index for `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:<index>`.

    Raises UsageError for any other text, NothingToDo for a device that is not here.
    """
    if text == "cpu" or (text == "auto" and not available.cuda):
        return Device.CPU, 0
    match = _DEVICE.fullmatch("cuda" if text == "auto" else text)
    if match is None:
        raise UsageError(f"unknown device {text!r}", why="allowed: auto, cpu, cuda, cuda:<index>")
    if not available.cuda:
        hint = "use --device cpu, or see kbench doctor"
        raise NothingToDo(f"device {text!r} is not available", why=available.why_no_cuda, hint=hint)
    index = int(match.group(1) or 0)
    if index >= available.cuda_devices:
        present = ", ".join(f"cuda:{i}" for i in range(available.cuda_devices))
        raise NothingToDo(f"device {text!r} is not available", why=f"there is: {present}")
    return Device.CUDA, index


def describe(inventory: Inventory | None = None, *, gpu: Gpu | None = None) -> dict[str, Any]:
    """The environment as a run records it, ready for JSON; `gpu` is the one it runs on (default: the first).

    It is committed and shared, so it holds no names of hosts or people, no paths and no serial numbers. `key`
    is a short hash of what makes two runs comparable; memory and kernel are left out: they move no timing.
    """
    inventory = inventory or take_inventory()
    gpu = gpu or next(iter(inventory.gpus), None)
    torch = inventory.torch
    described: dict[str, Any] = {
        "machine": {
            "cpu_model": inventory.cpu_model,
            "cpu_id": inventory.cpu_id,
            "cores": inventory.cores,
            "memory_gb": inventory.memory_gb,
            "kernel": inventory.kernel,
        },
        "gpu": gpu and {
            "name": gpu.name, "driver": gpu.driver, "memory_gb": gpu.memory_gb, "count": len(inventory.gpus),
        },
        "python": inventory.python,
        "torch": torch.version if torch else None,
        "cuda": torch.cuda if torch else None,
        "compiler": inventory.compiler,
        "nvcc": inventory.nvcc,
        "kbench": kbench.__version__,
    }
    return {"key": _key(inventory, described), **described}


def _key(inventory: Inventory, described: dict[str, Any]) -> str:
    gpu = described["gpu"] or {}
    identity = [
        inventory.cpu_model,
        inventory.cpu_id,
        inventory.cores,
        gpu.get("name"),
        gpu.get("driver"),
        described["torch"],
        described["cuda"],
        inventory.nvcc,
        inventory.compiler,
        inventory.python.rpartition(".")[0],  # a patch release of Python moves no kernel's time
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_KEY_LENGTH]
