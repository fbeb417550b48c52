"""The floor under a time: the least bytes over the bandwidth, the least operations over the rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

_REPEATS = 7
_TOLERATED = 0.8
"""A time may be this share of the floor: the ceilings are measured, and measured a little low."""
_CONV_SHORTCUT = 4.0
"""Fast algorithms (Winograd F(4x4, 3x3)) do a convolution in a quarter of its multiplications."""
_CUDA_COPY_BYTES = 1 << 30
_CUDA_MATMUL = 8192
_CPU_MATMUL = 1024
_CPU_COPY_BYTES = (256 << 10, 1 << 20, 4 << 20)
_CPU_LARGEST_COPY = 256 << 20
_LEAST_REGION_S = 2e-3
"""Short operations are timed many at a time, as short calls are in a sample."""


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What the device can do at most, measured in this run."""

    bytes_per_s: float
    flops_per_s: float


def measure_ceilings(device: torch.device, *, typical_bytes: int) -> Ceilings:
    """Copy rate (bytes read plus written) and the fastest matrix product, each the best of several.

    On the CPU the copies are of several sizes up to the problem's own, since that may live in any of the caches.
    """
    if device.type == "cuda":
        return Ceilings(
            bytes_per_s=_copy_rate(device, _CUDA_COPY_BYTES),
            flops_per_s=_matmul_rate(device, _CUDA_MATMUL, torch.bfloat16),
        )
    largest = min(max(typical_bytes, _CPU_COPY_BYTES[-1]), _CPU_LARGEST_COPY)
    rates = [_copy_rate(device, size) for size in (*_CPU_COPY_BYTES, largest)]
    return Ceilings(bytes_per_s=max(rates), flops_per_s=_matmul_rate(device, _CPU_MATMUL, torch.float32))


def floor_ms(ceilings: Ceilings, *, least_bytes: float, least_flops: float) -> float:
    """The time in ms below which no implementation can be: max(bytes / bandwidth, operations / rate)."""
    return 1e3 * max(least_bytes / ceilings.bytes_per_s, least_flops / _CONV_SHORTCUT / ceilings.flops_per_s)


def is_impossible(time_ms: float, floor: float) -> bool:
    """Whether a time lies below the floor by more than the ceilings' own error."""
    return time_ms < _TOLERATED * floor


def least_work(declared: Mapping[str, float], *, counted_bytes: float, counted_flops: float) -> tuple[float, float]:
    """Bytes and operations: as the problem's sidecar declares, else as counted."""
    return float(declared.get("bytes", counted_bytes)), float(declared.get("flops", counted_flops))


def _copy_rate(device: torch.device, size: int) -> float:
    source = torch.ones(size // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best_s(device, lambda: target.copy_(source))


def _matmul_rate(device: torch.device, size: int, dtype: torch.dtype) -> float:
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / _best_s(device, lambda: torch.mm(a, b))


def _best_s(device: torch.device, action: Callable[[], object]) -> float:
    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def region_s(calls: int) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            action()
        synchronize()
        return time.perf_counter() - start

    region_s(1)
    calls = max(1, int(_LEAST_REGION_S / max(region_s(1), 1e-9)))
    return min(region_s(calls) for _ in range(_REPEATS)) / calls
