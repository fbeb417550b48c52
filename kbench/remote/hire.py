"""Start a worker for one source file: scratch folder, its copy of the file and of its libraries, the task."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench import protocol
from kbench.assignment import Task
from kbench.remote.link import Deadlines, WorkerLink
from kbench.sandbox import confine
from kbench.sandbox.client import ForkServer

_TARGET = "kbench.worker.main:serve"
SERVER_MODULES = ("numpy", "kbench.worker.preload", "kbench.worker.main")
"""What the fork server imports, once for all workers."""
_PASSED_ON = (
    "PATH", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CC", "CXX", "CUDA_HOME",
    "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NCCL_NVLS_ENABLE",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST", "NVSHMEM_DISABLE_NVLS",
)  # fmt: skip
_STEADY_HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}
"""glibc gives large blocks back to the kernel or keeps them, by the history of the heap; then every call faults its
output's pages in again, or none does. Identical modules differed by 2x for that reason alone (2 MB outputs, measured).
So workers of both sides keep what they have freed."""


@dataclass(frozen=True, kw_only=True)
class Hiring:
    """What every worker of a run has in common."""

    server: ForkServer
    limits: confine.Limits
    deadlines: Deadlines
    threads: int


@dataclass(frozen=True, kw_only=True)
class Post:
    """One worker's job: whose class from which source."""

    source: str
    shown_path: str
    role: str
    """`candidate` or `reference`."""
    precision: str
    log: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    libraries: Path | None = None
    """A build's folder of compiled extensions; the worker gets a copy of its own."""
    compile_only: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    writable: Path | None = None
    """A further folder the worker shares with others of its kind (a compile cache); theirs is one user."""


def hire(hiring: Hiring, post: Post, *, descriptors: Sequence[int] = (), load_s: float | None = None) -> WorkerLink:
    """Fork a confined worker for `post`; `descriptors` are its host arenas. Raises InfraError."""
    uid = hiring.server.new_uid() if post.writable is None else hiring.server.owner_of(post.writable)
    scratch = hiring.server.new_scratch(uid=uid)
    path = scratch / ("candidate.py" if post.role == "candidate" else "problem.py")
    path.write_text(post.source)
    path.chmod(0o444)
    task = Task(
        role=post.role,
        path=str(path),
        shown_path=post.shown_path,
        class_name="ModelNew" if post.role == "candidate" else "Model",
        nonce=secrets.token_hex(protocol.NONCE_BYTES),
        threads=hiring.threads,
        precision=post.precision,
        environment={**_own_folders(scratch), **post.environment},
        overrides=dict(post.overrides),
        extensions=str(_copy_libraries(post.libraries, scratch, uid)),
        compile_only=post.compile_only,
    )
    ours, theirs = socket.socketpair()
    with theirs:
        process = hiring.server.spawn(
            _TARGET,
            task.to_json(),
            log=post.log,
            limits=hiring.limits,
            scratch=scratch,
            uid=uid,
            descriptors=[theirs.fileno(), *descriptors],
            writable=[str(post.writable)] if post.writable else [],
        )
    deadlines = hiring.deadlines if load_s is None else Deadlines(load_s=load_s, call_s=hiring.deadlines.call_s)
    return WorkerLink(task, process=process, connection=ours, deadlines=deadlines)


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


def _own_folders(scratch: Path) -> dict[str, str]:
    folders = {
        "HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "TORCH_EXTENSIONS_DIR": "torch_extensions",
        "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "CUDA_CACHE_PATH": "nv",
    }  # fmt: skip
    for name in folders.values():
        (scratch / name).mkdir()
        shutil.chown(scratch / name, scratch.stat().st_uid)
    own = {variable: str(scratch / name) for variable, name in folders.items()}
    return {**own, "USER": "kbench", "LOGNAME": "kbench"}


def _copy_libraries(libraries: Path | None, scratch: Path, uid: int | None) -> Path:
    own = scratch / "extensions"
    if libraries is None:
        own.mkdir()
    else:
        shutil.copytree(libraries, own)
        for path in (own, *own.rglob("*")):
            path.chmod(0o755)
    if uid is not None:
        os.chown(own, uid, uid)
    return own
