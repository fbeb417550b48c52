"""Which NVIDIA GPUs are here, asked of the driver: NVML by ctypes, else nvidia-smi. Makes no CUDA context."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kbench.errors import InfraError, NothingToDo, UsageError

_SMI_TIMEOUT_S = 20
_SMI_QUERY = ("--query-gpu=name,driver_version,memory.total,uuid,compute_cap", "--format=csv,noheader,nounits")
_GPU_NODE = re.compile(r"nvidia\d{1,3}")
_CAPABILITY = re.compile(r"\d{1,3}\.\d{1,2}")
_TEXT_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE, also enough for a UUID and the driver's version


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU. `uuid` serves CUDA_VISIBLE_DEVICES and locks only: it names one board, so no environment holds it."""

    name: str
    driver: str
    memory_gb: float
    uuid: str = ""
    capability: str = ""
    """The compute capability, `9.0`; empty where the driver does not say."""
    node: str = ""
    """Its device node; empty where the driver does not say."""
    place: int = 0
    """Which of all that are here it is, seen or hidden."""


class _NvmlMemory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class NvmlError(Exception):
    """A function of NVML has answered with an error's code."""


def find_gpus(env: Mapping[str, str]) -> tuple[tuple[Gpu, ...], int]:
    """The GPUs CUDA would see, and how many CUDA_VISIBLE_DEVICES hides."""
    present = _from_nvml()
    if present is None:
        present = _from_smi(env)
    shown = visible(present, env.get("CUDA_VISIBLE_DEVICES"))
    return shown, max(0, len(present) - len(shown))


def visible(gpus: tuple[Gpu, ...], setting: str | None) -> tuple[Gpu, ...]:
    """Apply CUDA_VISIBLE_DEVICES as CUDA does: indices or UUID prefixes, up to the first invalid entry."""
    if setting is None:
        return gpus
    shown: list[Gpu] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isdecimal():
            chosen = gpus[int(entry)] if int(entry) < len(gpus) else None
        elif entry.startswith("MIG-"):  # a slice of some board; which one, only CUDA itself can say
            chosen = replace(gpus[0], uuid=entry, node="") if gpus else None
        else:
            chosen = next((gpu for gpu in gpus if entry and gpu.uuid.startswith(entry)), None)
        if chosen is None:
            break
        shown.append(chosen)
    return tuple(shown)


def take(gpus: Sequence[Gpu], index: int, count: int | None) -> tuple[Gpu, ...]:
    """`count` of the GPUs from `index` on, or all of them (None). They are alike, so that their times compare.

    Raises NothingToDo where there are not so many, UsageError where they differ.
    """
    taken = tuple(gpus[index:] if count is None else gpus[index : index + count])
    if len(taken) < (count or 1):
        raise NothingToDo(f"{count} GPUs are not here", why=f"from cuda:{index} on there are {len(taken)}")
    if len(kinds := dict.fromkeys(gpu.name for gpu in taken)) > 1:
        raise UsageError(
            "the GPUs of one run must be alike", why=f"there are {' and '.join(kinds)}",
            hint="name one with --device cuda:<index>, or the alike ones in CUDA_VISIBLE_DEVICES",
        )  # fmt: skip
    return taken


def see_only(gpu: Gpu, env: MutableMapping[str, str], *, of: int) -> None:
    """Let CUDA see one GPU `of` so many alone, as its device 0, in every process that has `env`.

    Nothing then depends on which device happens to be the current one. A hostile worker can drop the variable: it is
    the others' nodes that must be closed to it (`other_nodes`). Raises InfraError where the driver gives several GPUs
    no names.
    """
    if gpu.uuid:
        env["CUDA_VISIBLE_DEVICES"] = gpu.uuid
    elif of > 1:
        raise InfraError(
            "one of several GPUs cannot be chosen", why="the driver tells no UUID of it",
            hint="set CUDA_VISIBLE_DEVICES to one of them",
        )  # fmt: skip


def other_nodes(gpu: Gpu, folder: Path = Path("/dev")) -> tuple[str, ...]:
    """The device nodes of all other GPUs; none where `gpu`'s own is not known, or goes by another name here.

    A process that can open them all could use them all, whatever CUDA_VISIBLE_DEVICES says, while another's candidate
    is timed there; and the driver sets up every GPU that a process can open, one process after the other.
    """
    if not gpu.node or not Path(gpu.node).exists():
        return ()
    nodes = (str(path) for path in folder.glob("nvidia*") if _GPU_NODE.fullmatch(path.name))
    return tuple(sorted(node for node in nodes if node != gpu.node))


def _from_nvml() -> tuple[Gpu, ...] | None:
    """The driver's own list, or None where there is no driver that answers."""
    library = load_nvml()
    if library is None:
        return None
    try:
        return read_nvml(library)
    except (NvmlError, AttributeError):  # AttributeError: a driver without one of these functions
        return None


def load_nvml() -> Any | None:
    """The driver's library, or None where there is none."""
    try:
        return ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None


def read_nvml(library: Any) -> tuple[Gpu, ...]:
    """List the GPUs through a loaded NVML library."""
    call_nvml(library.nvmlInit_v2)
    try:
        count = ctypes.c_uint()
        call_nvml(library.nvmlDeviceGetCount_v2, ctypes.byref(count))
        driver = _text(library.nvmlSystemGetDriverVersion)
        return tuple(_nvml_gpu(library, index, driver) for index in range(count.value))
    finally:
        with contextlib.suppress(NvmlError):
            call_nvml(library.nvmlShutdown)


def _nvml_gpu(library: Any, index: int, driver: str) -> Gpu:
    handle, memory = ctypes.c_void_p(), _NvmlMemory()
    call_nvml(library.nvmlDeviceGetHandleByIndex_v2, ctypes.c_uint(index), ctypes.byref(handle))
    call_nvml(library.nvmlDeviceGetMemoryInfo, handle, ctypes.byref(memory))
    return Gpu(
        name=_text(library.nvmlDeviceGetName, handle),
        driver=driver,
        memory_gb=round(memory.total / 2**30, 1),
        uuid=_text(library.nvmlDeviceGetUUID, handle),
        capability=_nvml_capability(library, handle),
        node=_nvml_node(library, handle),
        place=index,
    )


def _nvml_capability(library: Any, handle: ctypes.c_void_p) -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    call_nvml(library.nvmlDeviceGetCudaComputeCapability, handle, ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _nvml_node(library: Any, handle: ctypes.c_void_p) -> str:
    minor = ctypes.c_uint()
    try:
        call_nvml(library.nvmlDeviceGetMinorNumber, handle, ctypes.byref(minor))
    except (NvmlError, AttributeError):
        return ""
    return f"/dev/nvidia{minor.value}"


def _text(function: Any, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(_TEXT_BYTES)
    call_nvml(function, *arguments, buffer, ctypes.c_uint(_TEXT_BYTES))
    return buffer.value.decode(errors="replace")


def call_nvml(function: Any, *arguments: Any) -> None:
    """Call one function of NVML. Raises NvmlError."""
    code = function(*arguments)
    if code != 0:
        raise NvmlError(code)


def _from_smi(env: Mapping[str, str]) -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi", path=env.get("PATH", os.defpath))
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, *_SMI_QUERY],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_smi(done.stdout) if done.returncode == 0 else ()


def parse_smi(output: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's CSV (memory in MiB); lines that are not five fields are not GPUs."""
    lines = ([field.strip() for field in line.split(",")] for line in output.splitlines())
    rows = [row for row in lines if len(row) == 5 and row[2].isdecimal()]
    return tuple(
        Gpu(
            name=row[0], driver=row[1], memory_gb=round(int(row[2]) / 2**10, 1), uuid=row[3],
            capability=row[4] if _CAPABILITY.fullmatch(row[4]) else "", place=place,
        )
        for place, row in enumerate(rows)
    )
