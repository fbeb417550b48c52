"""The compute-sanitizer of this machine, and the command lines it is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ERROR_EXIT = 86
"""What the tool exits with where the program itself ended well and it found something."""
_CONNECT_S = 300
"""It waits as long for the program's first CUDA call; importing torch under it takes its time."""
_PRINTED = 200
"""Errors printed; the rest is counted only."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One tool of compute-sanitizer, and the reason its findings have in a record."""

    tool: str
    reason: str
    options: tuple[str, ...] = ()


CHECKS = (
    # Torch makes CUDA calls that are allowed to fail, so those do not count. Padding keeps two allocations apart:
    # a write past the end of one must not land in the next.
    Check(tool="memcheck", reason="out_of_bounds", options=("--report-api-errors", "no", "--padding", "4096")),
    Check(tool="racecheck", reason="race"),
    Check(tool="initcheck", reason="uninitialised"),
)

ENVIRONMENT: Mapping[str, str] = {
    # Each tensor in an allocation of its own: inside torch's cached blocks nothing is out of bounds or uninitialised.
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
    # The sandbox has no network, not even a loopback.
    "NV_COMPUTE_SANITIZER_LOCAL_CONNECTION_OVERRIDE": "uds",
}


def command(tool: Path, check: Check, program: list[str]) -> list[str]:
    """The command line that runs `program` under one check, its report on standard output."""
    options = [
        "--tool", check.tool, "--error-exitcode", str(ERROR_EXIT), "--launch-timeout", str(_CONNECT_S),
        "--print-limit", str(_PRINTED), "--show-backtrace", "device", *check.options,
    ]  # fmt: skip
    return [str(tool), *options, *program]
