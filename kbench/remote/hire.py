"""Start a worker, and set it to one source file: its copy of the file and of its libraries, the task."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench import protocol
from kbench.assignment import Task, Welcome
from kbench.remote.link import Deadlines, Recruit, WorkerLink
from kbench.sandbox import confine
from kbench.sandbox.client import Confined, ForkServer

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
    offered = [str(folder) for folder in post.precompiled.values()]
    hired = recruit(hiring, device=post.device, descriptors=descriptors, writable=post.writable, offered=offered)
    return assign(hiring, hired, post, load_s=load_s)


def recruit(
    hiring: Hiring, *, device: str = "", descriptors: Sequence[int] = (), writable: Path | None = None,
    offered: Sequence[str] = (),
) -> Recruit:  # fmt: skip
    """Fork a confined worker for whatever may come. Raises InfraError."""
    uid = hiring.server.new_uid() if writable is None else hiring.server.owner_of(writable)
    scratch = hiring.server.new_scratch(uid=uid)
    welcome = Welcome(nonce=secrets.token_hex(protocol.NONCE_BYTES), environment=own_folders(scratch), device=device)
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack, theirs:
        own, page = list(descriptors), None
        if device:
            from kbench.arena import host_memory
            from kbench.page import PAGE_BYTES, Page

            own.append(host_memory(PAGE_BYTES))
            stack.callback(os.close, own[-1])
            page = Page(own[-1])
        process = hiring.server.spawn(
            _TARGET,
            welcome.to_json(),
            log=Path(os.devnull),
            limits=hiring.limits,
            scratch=scratch,
            uid=uid,
            descriptors=[theirs.fileno(), *own],
            writable=[str(writable)] if writable else [],
            offered=offered,
        )
    return Recruit(welcome=welcome, process=process, connection=ours, page=page)


def assign(hiring: Hiring, recruit: Recruit, post: Post, *, load_s: float | None = None) -> WorkerLink:
    """Set a worker that knows of no file, or was released from its last one, to that of `post`.

    Where the file or its libraries cannot be laid out, the worker is gone.
    """
    try:
        task = _laid_out(recruit.process, post, threads=hiring.threads)
    except BaseException:
        recruit.close()
        raise
    deadlines = hiring.deadlines if load_s is None else Deadlines(load_s=load_s, call_s=hiring.deadlines.call_s)
    return WorkerLink(task, recruit=recruit, deadlines=deadlines)


def _laid_out(process: Confined, post: Post, *, threads: int) -> Task:
    scratch = process.scratch
    process.log_to(post.log)
    path = scratch / ("candidate.py" if post.role == "candidate" else "problem.py")
    path.unlink(missing_ok=True)
    path.write_text(post.source)
    path.chmod(0o444)
    return Task(
        role=post.role,
        path=str(path),
        shown_path=post.shown_path,
        class_name="ModelNew" if post.role == "candidate" else "Model",
        threads=threads,
        precision=post.precision,
        environment=dict(post.environment),
        overrides=dict(post.overrides),
        extensions=str(copy_libraries(post.libraries, scratch, process.uid)),
        headers=str(post.headers or ""),
        precompiled={flags: str(folder) for flags, folder in post.precompiled.items()},
        compile_only=post.compile_only,
    )


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
        own.mkdir(exist_ok=True)
    else:
        shutil.copytree(libraries, own)
        for path in (own, *own.rglob("*")):
            path.chmod(0o755)
    if uid is not None:
        os.chown(own, uid, uid)
    return own
