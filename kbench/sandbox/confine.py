"""The walls around one worker. Each layer is tried by itself and reported as `on` or `off: why`.

Order matters: namespaces first (they need privilege), then limits, then the identity, then no_new_privs.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kbench.sandbox import syscalls as sc

LAYERS = ("session", "pid_namespace", "mount_namespace", "network", "ipc", "uid", "no_new_privs", "rlimits", "watchdog")
"""Every layer's name, as shown by `kbench doctor` and stored in a record's `isolation`."""

_COVERED = ("/tmp", "/dev/shm", "/var/tmp")
_HIDDEN_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one worker may use."""

    memory_bytes: int
    file_bytes: int = 8 << 30
    output_bytes: int = 1 << 20
    processes: int = 1024
    open_files: int = 4096
    scratch_bytes: int = 4 << 30


@dataclass(frozen=True, kw_only=True)
class Walls:
    """What to put around one worker."""

    scratch: str
    """The one folder it may write, already owned by `uid`."""
    uid: int | None
    """The user to become, or None to stay who we are."""
    visible: tuple[str, ...]
    """Folders that must stay readable: the interpreter, its packages, the toolchain."""
    limits: Limits
    hidden: tuple[str, ...] = ()
    """Folders to show as empty but for what is `visible` in them: problems, results, the other candidates."""


def attempt(layers: dict[str, str], name: str, action: Callable[[], None]) -> None:
    """Run `action` and note whether the layer stands. A missing layer degrades the run; it does not end it."""
    try:
        action()
    except OSError as error:
        layers[name] = f"off: {error.strerror or error}"
    else:
        layers[name] = "on"


def unshare_pids(layers: dict[str, str]) -> None:
    """In the supervisor, before it forks the worker's init: its children live in a PID namespace of their own."""
    attempt(layers, "pid_namespace", lambda: sc.unshare(sc.CLONE_NEWPID))


def build_namespaces(walls: Walls, layers: dict[str, str]) -> None:
    """In the worker's init (PID 1 of its namespace): network, IPC, mounts."""
    attempt(layers, "network", lambda: sc.unshare(sc.CLONE_NEWNET))
    attempt(layers, "ipc", lambda: sc.unshare(sc.CLONE_NEWIPC))
    attempt(layers, "mount_namespace", lambda: _private_mounts(walls, layers))


def _private_mounts(walls: Walls, layers: Mapping[str, str]) -> None:
    sc.unshare(sc.CLONE_NEWNS)
    sc.mount("none", "/", None, sc.MS_REC | sc.MS_PRIVATE)
    keep = [walls.scratch, *walls.visible]
    for folder in (*_COVERED, *blocked_ancestors(walls.visible)):
        if Path(folder).is_dir():
            _cover(folder, keep, size=walls.limits.scratch_bytes)
    for folder in walls.hidden:
        if folder not in _COVERED and Path(folder).is_dir():
            _cover(folder, keep, size=_HIDDEN_BYTES)
    if layers.get("pid_namespace") == "on":
        sc.mount("proc", "/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)


def _cover(folder: str, keep: Sequence[str], *, size: int) -> None:
    """Hide `folder` behind an empty file system of its own, leaving only the folders of `keep` in it."""
    inside = [path for path in keep if Path(folder) in Path(path).parents]
    held = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in inside]
    try:
        mode = "0755" if folder not in _COVERED else "1777"
        sc.mount("tmpfs", folder, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, f"size={size},mode={mode}")
        for path, descriptor in zip(inside, held, strict=True):
            Path(path).mkdir(parents=True, exist_ok=True)
            for parent in Path(path).parents:
                if Path(folder) in parent.parents:
                    parent.chmod(0o755)
            sc.mount(f"/proc/self/fd/{descriptor}", path, None, sc.MS_BIND | sc.MS_REC)
    finally:
        for descriptor in held:
            os.close(descriptor)


def blocked_ancestors(paths: Sequence[str]) -> tuple[str, ...]:
    """The topmost folders above `paths` that another user could not enter (a private home, say)."""
    found: list[str] = []
    for path in paths:
        for parent in reversed(Path(path).parents):
            if not parent.stat().st_mode & stat.S_IXOTH:
                if str(parent) not in found:
                    found.append(str(parent))
                break
    return tuple(found)


def drop_privileges(walls: Walls, layers: dict[str, str]) -> None:
    """In the worker itself, last of all: limits, then identity, then the promise never to gain any."""
    attempt(layers, "rlimits", lambda: _set_limits(walls.limits, own_user=walls.uid is not None))
    if walls.uid is None:
        layers["uid"] = "off: not root, so the worker is the same user as the judge"
    elif layers.get("mount_namespace") != "on" and blocked_ancestors(walls.visible):
        layers["uid"] = f"off: other users cannot read {blocked_ancestors(walls.visible)[0]}"
    else:
        uid = walls.uid
        attempt(layers, "uid", lambda: _become(uid))
    attempt(layers, "no_new_privs", lambda: sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1))


def _set_limits(limits: Limits, *, own_user: bool) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
    }
    if own_user:  # the kernel counts processes per user: on a shared one the user's own would count too
        wanted[resource.RLIMIT_NPROC] = limits.processes
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError):
            resource.setrlimit(kind, (ceiling, ceiling))


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
