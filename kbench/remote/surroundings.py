"""What the fork server is started with: the modules it imports, its environment. (Torch is not needed to say so.)"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kbench.config import COMPILE_MODES

SERVER_MODULES = ("numpy", "kbench.worker.preload", "kbench.worker.main")
"""What the fork server imports, once for all workers."""
_COMPILER_MODULES = ("kbench.worker.preload_compiler",)
"""And where torch.compile is a baseline."""
_PASSED_ON = (
    "PATH", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CC", "CXX", "CUDA_HOME",
    "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NCCL_NVLS_ENABLE",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST", "NVSHMEM_DISABLE_NVLS",
)  # fmt: skip
_STEADY_HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}
"""glibc gives large blocks back to the kernel or keeps them, by the history of the heap; then every call faults its
output's pages in again, or none does. Identical modules differed by 2x for that reason alone (2 MB outputs, measured).
So workers of both sides keep what they have freed."""


def server_modules(baselines: Iterable[str]) -> tuple[str, ...]:
    """What the fork server imports for a run with these baselines."""
    return SERVER_MODULES + (_COMPILER_MODULES if any(name in COMPILE_MODES for name in baselines) else ())


def server_environment(
    python_bin: Path, *, threads: int, pinned: bool, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the fork server, and so of every worker: named variables only, nothing of the user's own.

    `pinned`: OpenMP's threads have a core each and wait there without sleeping, as within one busy program. Woken up
    for each call on whatever core, they took up to 8 ms to come (measured), which is no part of what a kernel costs.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["PATH"] = f"{python_bin}:{environment.get('PATH', os.defpath)}"
    package = str(Path(__file__).resolve().parents[2])  # kbench may run from a source tree, uninstalled
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH", "")]))
    environment.update(_STEADY_HEAP)
    environment["LC_ALL"] = "C.UTF-8"  # diagnostics are read in English
    environment["OMP_NUM_THREADS"] = str(threads)
    if pinned:
        environment |= {"OMP_WAIT_POLICY": "ACTIVE", "OMP_PROC_BIND": "TRUE"}
    return {**environment, **extra}
