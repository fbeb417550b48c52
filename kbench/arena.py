"""Memory that the judge owns and a worker can map: a sealed memfd on the CPU, a CUDA IPC allocation on the GPU.

A worker writes into it at any time it likes; whatever the judge decides on, it copies out first.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from dataclasses import dataclass
from typing import Any

import torch

from kbench.errors import InfraError

_CUDA_OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY."""
_CUDA_GRANULARITY = 2 << 20
"""Bytes. From this size on, cuMemAlloc gives an allocation of its own, so an IPC handle shares nothing else."""


class NoDeviceMemory(InfraError):
    """The device has no memory left for what the driver was asked for."""


@dataclass
class Arena:
    """A flat uint8 tensor, and what another process needs to map it (`descriptor` or `handle`)."""

    data: torch.Tensor
    descriptor: int = -1
    handle: str = ""
    _pointer: int = 0

    def close(self) -> None:
        """Give the memory back. Views of it must not be used any more."""
        self.data = torch.empty(0, dtype=torch.uint8)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if self._pointer:
            Driver().check("cuMemFree_v2", ctypes.c_uint64(self._pointer))
            self._pointer = 0


def create(size: int, device: torch.device) -> Arena:
    """Allocate `size` bytes, zeroed. Raises InfraError where there is no such memory left, on a device NoDeviceMemory.
    """
    if device.type == "cpu":
        return _create_host(size)
    pointer = ctypes.c_uint64()
    rounded = -(-size // _CUDA_GRANULARITY) * _CUDA_GRANULARITY
    with torch.cuda.device(device):
        torch.cuda.current_stream().synchronize()
        Driver().check("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(rounded))
        raw = (ctypes.c_byte * 64)()
        Driver().check("cuIpcGetMemHandle", ctypes.byref(raw), pointer)
        data = _tensor_at(pointer.value, size, device)
        data.zero_()
    return Arena(data=data, handle=bytes(raw).hex(), _pointer=pointer.value)


def _create_host(size: int) -> Arena:
    descriptor = host_memory(size)
    try:
        return Arena(data=map_host(descriptor, size), descriptor=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise _no_memory(error) from error


def host_memory(size: int) -> int:
    """A descriptor of `size` bytes of memory, zeros, whose size is final. Raises InfraError."""
    descriptor = os.memfd_create("kbench-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError as error:
        os.close(descriptor)
        raise _no_memory(error) from error
    return descriptor


def _no_memory(error: OSError) -> InfraError:
    return InfraError("no shared memory for a worker", why=str(error), hint="free memory, or use --size")


def map_host(descriptor: int, size: int) -> torch.Tensor:
    """Map a memfd of `size` bytes as a flat uint8 tensor."""
    return torch.frombuffer(mmap.mmap(descriptor, size), dtype=torch.uint8)


def map_cuda(handle: str, size: int, device: torch.device) -> torch.Tensor:
    """Map an IPC allocation of another process as a flat uint8 tensor on `device`."""
    raw = _IpcHandle.from_buffer_copy(bytes.fromhex(handle))
    pointer = ctypes.c_uint64()
    with torch.cuda.device(device):
        torch.cuda.current_stream().synchronize()
        Driver().check("cuIpcOpenMemHandle_v2", ctypes.byref(pointer), raw, ctypes.c_uint(1))
        return _tensor_at(pointer.value, size, device)


def unmap_cuda(mapped: torch.Tensor) -> None:
    """Let go of what `map_cuda` gave. Views of it must not be used any more."""
    Driver().check("cuIpcCloseMemHandle", ctypes.c_uint64(mapped.data_ptr()))


class _IpcHandle(ctypes.Structure):
    """CUipcMemHandle: 64 opaque bytes, passed by value."""

    _fields_ = (("reserved", ctypes.c_byte * 64),)


class _ArrayAt:
    """Carries a raw device pointer into torch through the CUDA array interface (version 3)."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size,), "typestr": "|u1", "data": (pointer, False), "version": 3, "strides": None,
        }  # fmt: skip


def _tensor_at(pointer: int, size: int, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(_ArrayAt(pointer, size), device=device)


class Driver:
    """libcuda, called with the context that torch made current."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def check(self, call: str, *arguments: Any) -> None:
        code = getattr(self._library, call)(*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(text))
            said = text.value.decode() if text.value else str(code)
            kind = NoDeviceMemory if code == _CUDA_OUT_OF_MEMORY else InfraError
            raise kind(f"{call} failed: {said}", hint="free device memory, or choose another device")
