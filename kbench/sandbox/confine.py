"""The walls around one worker. Each layer is tried by itself and reported as `on`, `off: why` or `not needed: why`.

Order matters: the user namespace first (it grants a plain user the others), then the other namespaces and the mounts,
then limits, identity and capabilities, then no_new_privs, which Landlock and the system call filter need.
No bubblewrap: it executes a new program, and a worker would pay for an `import torch` (3 s) instead of a fork.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kbench.sandbox import identity, landlock, mounts, seccomp
from kbench.sandbox import syscalls as sc

LAYERS = (
    "session", "user_namespace", "pid_namespace", "mount_namespace", "proc", "read_only", "network", "ipc",
    "uid", "capabilities", "no_new_privs", "landlock", "seccomp", "rlimits", "watchdog",
)  # fmt: skip
"""Every layer's name, as shown by `kbench doctor` and stored in a record's `isolation`."""

ON = "on"
_OFF = "off: "
_NOT_NEEDED = "not needed: "
_COUNTS_PER_NAMESPACE = (5, 14)
"""The Linux version from which RLIMIT_NPROC counts a user's processes in each user namespace by itself."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one worker may use."""

    memory_bytes: int
    """Private, shared and temporary files together."""
    file_bytes: int = 8 << 30
    output_bytes: int = 1 << 20
    processes: int = 1024
    """Threads count too."""
    open_files: int = 4096
    scratch_bytes: int = 4 << 30
    """On the disk, in the scratch folder; and in each temporary folder, which is memory."""
    scratch_files: int = 200_000


@dataclass(frozen=True, kw_only=True)
class Walls:
    """What to put around one worker."""

    scratch: str
    """The one folder of its own, already owned by `uid`."""
    uid: int | None
    """The user to become, or None to stay who we are."""
    visible: tuple[str, ...]
    """Folders that must stay readable: the interpreter, its packages, the toolchain."""
    limits: Limits
    hidden: tuple[str, ...] = ()
    """Folders to show as empty but for what is `visible` in them: problems, results, the other candidates."""
    offered: tuple[str, ...] = ()
    """Folders that stay readable where a mount namespace can show them: it can do without."""
    writable: tuple[str, ...] = ()
    """Folders besides `scratch` that it may write, and shares with others of its kind."""


def attempt(layers: dict[str, str], name: str, action: Callable[[], None]) -> None:
    """Run `action` and note whether the layer stands. A missing layer degrades the run; it does not end it."""
    try:
        action()
    except OSError as error:
        layers[name] = f"{_OFF}{error.strerror or error}"
    else:
        layers[name] = ON


def missing(layers: Mapping[str, str]) -> dict[str, str]:
    """The layers that do not stand and should, each with its `off: why`. One that is not needed is not missing."""
    return {name: state for name, state in layers.items() if state.startswith(_OFF)}


def enter_namespaces(walls: Walls, layers: dict[str, str]) -> None:
    """In the supervisor, before it forks the worker's init: its children live in a PID namespace of their own.

    Unsharing that needs privilege, which a plain user has only in a user namespace. So the supervisor enters one too;
    over there it may still do everything to the worker, and the worker nothing to it.
    """
    if walls.uid is None:
        attempt(layers, "user_namespace", identity.enter_user_namespace)
    else:
        layers["user_namespace"] = f"{_NOT_NEEDED}the worker has a uid of its own"
    attempt(layers, "pid_namespace", lambda: sc.unshare(sc.CLONE_NEWPID))


def build_namespaces(walls: Walls, layers: dict[str, str]) -> None:
    """In the worker's init (PID 1 of its namespace): network, IPC, mounts."""
    attempt(layers, "network", lambda: sc.unshare(sc.CLONE_NEWNET))
    attempt(layers, "ipc", lambda: sc.unshare(sc.CLONE_NEWIPC))
    attempt(layers, "mount_namespace", lambda: mounts.build(_view(walls)))
    if layers["mount_namespace"] != ON:
        layers["proc"] = layers["read_only"] = f"{_OFF}needs a mount namespace"
        return
    if layers["pid_namespace"] == ON:
        attempt(layers, "proc", mounts.mount_own_proc)
    else:
        layers["proc"] = f"{_OFF}needs a PID namespace"
    attempt(layers, "read_only", lambda: mounts.make_read_only(_writable_mounts(walls, layers)))


def _view(walls: Walls) -> mounts.View:
    hidden = [*walls.hidden, str(Path(walls.scratch).parent)]  # the scratch folders of other workers
    if walls.uid is None:
        with contextlib.suppress(KeyError):  # a user without an entry has no home either
            hidden.append(pwd.getpwuid(os.geteuid()).pw_dir)
    return mounts.View(
        readable=(*walls.visible, *walls.offered),
        writable=(walls.scratch, *walls.writable),
        hidden=tuple(folder for folder in hidden if folder not in mounts.TEMPORARY),
        temporary_bytes=walls.limits.scratch_bytes,
    )


def _writable_mounts(walls: Walls, layers: Mapping[str, str]) -> list[str]:
    own = [walls.scratch, *walls.writable, *(folder for folder in mounts.TEMPORARY if Path(folder).is_dir())]
    return [*own, "/proc"] if layers["proc"] == ON else own


def drop_privileges(walls: Walls, layers: dict[str, str]) -> None:
    """In the worker itself, last of all: limits, then identity, then the promises that cannot be taken back."""
    attempt(layers, "rlimits", lambda: _set_limits(walls.limits, count_processes=_counts_own(walls, layers)))
    identity.bound_capabilities()
    _take_identity(walls, layers)
    attempt(layers, "capabilities", sc.clear_capabilities)
    attempt(layers, "no_new_privs", lambda: sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1))
    temporary = mounts.TEMPORARY if layers["mount_namespace"] == ON else ()  # else they are everybody's
    writable = (walls.scratch, *walls.writable, *temporary)
    attempt(layers, "landlock", lambda: landlock.restrict(writable=writable, nodes=("/dev", "/proc")))
    attempt(layers, "seccomp", seccomp.restrict)


def _take_identity(walls: Walls, layers: dict[str, str]) -> None:
    if walls.uid is None:
        in_namespace = layers["user_namespace"] == ON
        stands_in = f"{_NOT_NEEDED}the worker is in a user namespace of its own"
        layers["uid"] = stands_in if in_namespace else f"{_OFF}the worker is the same user as the judge"
    elif layers["mount_namespace"] != ON and mounts.blocked_ancestors(walls.visible):
        layers["uid"] = f"{_OFF}other users cannot read {mounts.blocked_ancestors(walls.visible)[0]}"
    else:
        uid = walls.uid
        attempt(layers, "uid", lambda: identity.become(uid))


def _counts_own(walls: Walls, layers: Mapping[str, str]) -> bool:
    """The kernel counts processes per user: on a shared one the user's own would count too."""
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    return walls.uid is not None or (layers["user_namespace"] == ON and release >= _COUNTS_PER_NAMESPACE)


def _set_limits(limits: Limits, *, count_processes: bool) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
    }
    if count_processes:
        wanted[resource.RLIMIT_NPROC] = limits.processes
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError):
            resource.setrlimit(kind, (ceiling, ceiling))
