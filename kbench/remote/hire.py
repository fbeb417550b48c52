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
    headers: Path | None = None
    """To be tried first when something is compiled."""
    precompiled: Mapping[str, Path] = field(default_factory=dict)
    """The same, compiled, by the flags that they were compiled with."""
    compile_only: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    """What it will compute on, where that has to be woken."""
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
        environment={**own_folders(scratch), **post.environment},
        overrides=dict(post.overrides),
        extensions=str(copy_libraries(post.libraries, scratch, uid)),
        headers=str(post.headers or ""),
        precompiled={flags: str(folder) for flags, folder in post.precompiled.items()},
        compile_only=post.compile_only,
        device=post.device,
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
            offered=[str(folder) for folder in post.precompiled.values()],
        )
    deadlines = hiring.deadlines if load_s is None else Deadlines(load_s=load_s, call_s=hiring.deadlines.call_s)
    return WorkerLink(task, process=process, connection=ours, deadlines=deadlines)


def own_folders(scratch: Path) -> dict[str, str]:
    """Make the folders of a worker's own below `scratch`. Returns the variables that name them."""
    folders = {
        "HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "TORCH_EXTENSIONS_DIR": "torch_extensions",
        "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "CUDA_CACHE_PATH": "nv",
    }  # fmt: skip
    for name in folders.values():
        (scratch / name).mkdir()
        shutil.chown(scratch / name, scratch.stat().st_uid)
    own = {variable: str(scratch / name) for variable, name in folders.items()}
    return {**own, "USER": "kbench", "LOGNAME": "kbench"}


def copy_libraries(libraries: Path | None, scratch: Path, uid: int | None) -> Path:
    """A worker's own copy of a build, or an empty folder for what it will build."""
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
