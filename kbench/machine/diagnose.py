"""What `kbench doctor` concludes from the facts it was given. Pure: it looks at nothing itself."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kbench.machine.inventory import Inventory

_LEAST_PYTHON = (3, 11)
_LEAST_TORCH = (2, 9)
_LEAST_DISK_GB = 5.0
# One stock nvcc compile peaks at 2.8 GB (measured), and the judge has to live beside it.
_LEAST_MEMORY_GB = 4.0

_NAMESPACES = (
    "run as root, in a container with CAP_SYS_ADMIN and without a seccomp or AppArmor profile; or allow user namespaces"
)
_LAYER_FIXES = {
    "user_namespace": (
        "run as root, or allow plain users their namespaces: sysctl user.max_user_namespaces=10000, "
        "kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)"
    ),
    "uid": "run as root with CAP_SETUID, CAP_SETGID and CAP_CHOWN",
    "proc": "let the container show all of /proc (docker: --security-opt systempaths=unconfined), or use none",
    "read_only": "needs a mount namespace and Linux 5.12 or newer",
    "landlock": "needs Linux 5.19 or newer with landlock in the kernel's lsm= list, and a container that allows it",
    "seccomp": "apt-get install libseccomp2 (elsewhere: libseccomp)",
}


class State(enum.StrEnum):
    """How far one thing a run needs is there."""

    OK = "ok"
    DEGRADED = "degraded"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the doctor's table. `fix` is empty only where `state` is ok."""

    name: str
    state: State
    detail: str
    fix: str = ""
    essential: bool = False
    """Without it no run works, not even one on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The cache folder, and what is free: on its disk, and in memory (None: unknown)."""

    cache_dir: str
    writable: bool
    free_disk_gb: float | None
    free_memory_gb: float | None


def diagnose(
    inventory: Inventory, storage: Storage, layers: Mapping[str, str], *, untold: Sequence[str] | None = None
) -> tuple[Check, ...]:
    """Every check, in the order of the table. `layers`: each isolation layer's `on`, `off: why`, `not needed: why`.

    `untold`: the figures that NVML does not give of the first GPU; None: it gives none.
    """
    return (
        _python(inventory),
        _torch(inventory),
        _compiler(inventory),
        _ninja(inventory),
        _nvcc(inventory),
        _gpu(inventory),
        *(_telemetry(untold) for _ in inventory.gpus[:1]),
        *_storage(storage),
        *(_layer(name, state) for name, state in layers.items()),
    )


def can_run(checks: Iterable[Check]) -> bool:
    """A run works, on the CPU at least."""
    return not any(check.essential and check.state is State.MISSING for check in checks)


def _python(inventory: Inventory) -> Check:
    fits = _version(inventory.python) >= _LEAST_PYTHON
    return Check(
        name="python",
        state=State.OK if fits else State.MISSING,
        detail=inventory.python,
        fix="" if fits else f"install kbench in Python {_dotted(_LEAST_PYTHON)} or newer",
        essential=True,
    )


def _torch(inventory: Inventory) -> Check:
    torch = inventory.torch
    if torch is None:
        return Check(
            name="torch", state=State.MISSING, detail="not installed", fix="pip install torch", essential=True
        )
    build = f"built for CUDA {torch.cuda}" if torch.cuda else "built without CUDA"
    detail, state, fix = f"{torch.version}, {build}", State.OK, ""
    if _version(torch.version) < _LEAST_TORCH:
        state, fix = State.MISSING, f"pip install 'torch>={_dotted(_LEAST_TORCH)}'"
    elif torch.cuda is None and inventory.gpus:
        state, fix = State.DEGRADED, "install a CUDA build of torch (pytorch.org/get-started) to use the GPU"
    return Check(name="torch", state=state, detail=detail, fix=fix, essential=True)


def _compiler(inventory: Inventory) -> Check:
    found = inventory.compiler is not None
    return Check(
        name="C++ compiler",
        state=State.OK if found else State.MISSING,
        detail=inventory.compiler or "none of $CXX, g++, c++, clang++ works",
        fix="" if found else "apt-get install g++, or set CXX",
        essential=True,
    )


def _ninja(inventory: Inventory) -> Check:
    found = inventory.ninja is not None
    return Check(
        name="ninja",
        state=State.OK if found else State.MISSING,
        detail=inventory.ninja or "not found",
        fix="" if found else "pip install ninja",
        essential=True,
    )


def _nvcc(inventory: Inventory) -> Check:
    torch_cuda = inventory.torch.cuda if inventory.torch else None
    if inventory.nvcc is None:
        toolkit = (
            f"the CUDA toolkit {torch_cuda}" if torch_cuda else "the CUDA toolkit of torch's CUDA version"
        )
        detail = "not found: solutions with CUDA sources are skipped"
        fix = f"install {toolkit}, or set CUDA_HOME"
        return Check(name="nvcc", state=State.MISSING, detail=detail, fix=fix)
    if torch_cuda is None:
        return Check(name="nvcc", state=State.OK, detail=f"{inventory.nvcc} (no CUDA build of torch to fit)")
    if _version(inventory.nvcc)[:1] != _version(torch_cuda)[:1]:
        detail = f"{inventory.nvcc} does not fit torch's CUDA {torch_cuda}: extensions will not build"
        fix = f"install the CUDA toolkit {torch_cuda} and set CUDA_HOME to it"
        return Check(name="nvcc", state=State.DEGRADED, detail=detail, fix=fix)
    return Check(name="nvcc", state=State.OK, detail=f"{inventory.nvcc} (torch: CUDA {torch_cuda})")


def _gpu(inventory: Inventory) -> Check:
    if inventory.gpus:
        first, count = inventory.gpus[0], len(inventory.gpus)
        several = f"{count} × " if count > 1 else ""
        detail = f"{several}{first.name}, {first.memory_gb:g} GB, driver {first.driver}"
        return Check(name="GPU", state=State.OK, detail=detail)
    if inventory.hidden_gpus:
        detail = f"CUDA_VISIBLE_DEVICES hides {inventory.hidden_gpus}"
        return Check(name="GPU", state=State.MISSING, detail=detail, fix="unset CUDA_VISIBLE_DEVICES")
    detail = "no NVIDIA GPU or driver was found: runs are on the CPU"
    return Check(
        name="GPU", state=State.MISSING, detail=detail, fix="install the NVIDIA driver, if there is a GPU"
    )


def _telemetry(untold: Sequence[str] | None) -> Check:
    what = "clocks, power, temperature and throttle reasons"
    if untold is not None and not untold:
        return Check(name="telemetry", state=State.OK, detail=f"NVML gives {what}")
    given = "NVML gives nothing" if untold is None else f"NVML gives no {', '.join(untold)}"
    fix = "install the driver's libnvidia-ml.so.1; a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    detail = f"{given}: runs cannot say what of it spoiled a time"
    return Check(name="telemetry", state=State.DEGRADED, detail=detail, fix=fix)


def _storage(storage: Storage) -> Iterable[Check]:
    yield Check(
        name="cache folder",
        state=State.OK if storage.writable else State.DEGRADED,
        detail=f"{storage.cache_dir}{'' if storage.writable else ' is not writable: every run builds anew'}",
        fix="" if storage.writable else "make it writable, or set KBENCH_CACHE_DIR",
    )
    yield _free("free disk", storage.free_disk_gb, _LEAST_DISK_GB, "free some, or set KBENCH_CACHE_DIR")
    yield _free(
        "free memory", storage.free_memory_gb, _LEAST_MEMORY_GB, "end other programs, or use --jobs 1"
    )


def _free(name: str, free_gb: float | None, least_gb: float, fix: str) -> Check:
    if free_gb is None:
        return Check(name=name, state=State.DEGRADED, detail="unknown", fix=fix)
    enough = free_gb >= least_gb
    detail = f"{free_gb:g} GB" + ("" if enough else f", less than {least_gb:g} GB")
    return Check(
        name=name, state=State.OK if enough else State.DEGRADED, detail=detail, fix="" if enough else fix
    )


def _layer(name: str, state: str) -> Check:
    label = f"isolation: {name.replace('_', ' ')}"
    if not state.startswith("off"):
        return Check(name=label, state=State.OK, detail=state)
    fix = f"{_LAYER_FIXES.get(name, _NAMESPACES)}; --require-isolation refuses to run without"
    return Check(name=label, state=State.DEGRADED, detail=state, fix=fix)


def _version(text: str) -> tuple[int, ...]:
    """The leading numbers: (2, 13) of `2.13.0+cpu`; empty, older than anything, without any."""
    match = re.match(r"(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
