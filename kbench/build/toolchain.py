"""What turns sources into machine code on this machine: compilers, torch, architectures."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TOOLKIT = ("bin/nvcc", "include/cuda_runtime.h")
"""What makes a folder a toolkit: an `nvcc` on the path may be a script that only calls one elsewhere."""
SHORT_HEADERS = Path(__file__).with_name("include") / "host"
"""A stand-in for `torch/extension.h`."""
_HEADER_SOURCES = (*sorted(SHORT_HEADERS.rglob("*.h")), Path(__file__).parents[1] / "worker" / "thin.py")
"""What compilers read instead of torch's own headers, and what makes the rest of it."""
DEFAULT_CUDA_ARCH = "9.0"
"""What to compile for where no GPU says otherwise: Hopper."""


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """Compilers and targets. `facts` is what a build's cache key holds of it."""

    cuda_home: str | None
    cuda_arch: str
    facts: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Variables that make torch's extension builder use exactly this toolchain."""
        variables = {"TORCH_CUDA_ARCH_LIST": self.cuda_arch}
        if self.cuda_home:
            variables["CUDA_HOME"] = self.cuda_home
        return variables


def detect(*, cuda_arch: str | None) -> Toolchain:
    """Look at this machine's compilers. `cuda_arch` is the present GPU's, e.g. `9.0`, or None."""
    arch = cuda_arch or DEFAULT_CUDA_ARCH
    home = find_cuda_home()
    facts = {
        "torch": importlib.metadata.version("torch"),
        "python": sysconfig.get_config_var("EXT_SUFFIX") or platform.python_version(),
        "cxx": _first_line([os.environ.get("CXX", "c++"), "--version"]),
        "nvcc": _last_line([f"{home}/bin/nvcc", "--version"]) if home else "",
        "cuda_arch": arch,
        "cpu": _cpu_identity(),
        "headers": hashlib.sha256(b"".join(p.read_bytes() for p in _HEADER_SOURCES)).hexdigest(),
    }
    return Toolchain(cuda_home=home, cuda_arch=arch, facts=facts)


def find_cuda_home() -> str | None:
    """The CUDA toolkit's folder: CUDA_HOME, else where nvcc lies, else /usr/local/cuda; None without an nvcc."""
    on_path = shutil.which("nvcc")
    candidates = [os.environ.get("CUDA_HOME"), on_path and str(Path(on_path).resolve().parents[1]), "/usr/local/cuda"]
    return next((home for home in candidates if home and all((Path(home) / part).exists() for part in _TOOLKIT)), None)


def _cpu_identity() -> str:
    """`-march=native` means another thing on another CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("flags")), platform.machine())


def _output(command: list[str]) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines()


def _first_line(command: list[str]) -> str:
    return next(iter(_output(command)), "")


def _last_line(command: list[str]) -> str:
    return next(reversed(_output(command)), "")
