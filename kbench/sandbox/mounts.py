"""What a worker sees of the file system: private temporary folders, hidden folders, the rest read-only."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kbench.sandbox import syscalls as sc

TEMPORARY = ("/tmp", "/dev/shm", "/var/tmp")
"""Each is an empty file system of the worker's own, in memory."""

_HIDDEN_BYTES = 4096
_TEMPORARY_FILES = 100_000
"""Inodes take kernel memory that the size does not bound."""
_SOCKETS = "/run"
"""Where daemons listen. Neither a network namespace nor a read-only mount stops a connection to a named socket."""
_SESSION_SOCKETS = "/run/user"
"""Above all of them a desktop session's bus, which starts programs outside for whoever is the same user."""
_DRIVER = "nvidia"
_DEEPEST_SOCKET = 4
_SYSTEM_FOLDERS = frozenset({"/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/sbin", "/sys", "/usr"})


@dataclass(frozen=True, kw_only=True)
class View:
    """The folders to treat apart from the others."""

    readable: tuple[str, ...]
    """Stay visible wherever they lie."""
    writable: tuple[str, ...]
    """Stay visible and writable: the scratch folder first of all."""
    hidden: tuple[str, ...]
    """Shown as empty but for what is readable or writable in them; a device node among them cannot be opened."""
    temporary_bytes: int
    """Room in each of the temporary folders."""


def build(view: View) -> None:
    """Give the caller a mount namespace of its own that shows `view`. Raises OSError."""
    sc.unshare(sc.CLONE_NEWNS)
    sc.mount("none", "/", None, sc.MS_REC | sc.MS_PRIVATE)
    keep = [*view.writable, *view.readable]
    for folder in dict.fromkeys((*TEMPORARY, *blocked_ancestors(keep), *view.hidden, _SESSION_SOCKETS)):
        if Path(folder).is_dir() and folder not in _SYSTEM_FOLDERS:
            _cover(folder, keep, size=view.temporary_bytes if folder in TEMPORARY else _HIDDEN_BYTES)
        elif folder in view.hidden and Path(folder).exists() and folder not in _SYSTEM_FOLDERS:
            _close(folder)
    for folder in view.writable:
        sc.mount(folder, folder, None, sc.MS_BIND | sc.MS_REC)  # a mount of its own, which can differ from the rest
    for path in _listening_sockets():
        with contextlib.suppress(FileNotFoundError):  # its daemon has just ended
            sc.mount("/dev/null", path, None, sc.MS_BIND)


def mount_own_proc() -> None:
    """Show the processes of the caller's PID namespace alone. Raises OSError, as where a container masks /proc."""
    sc.mount("proc", "/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)


def make_read_only(writable: Sequence[str]) -> None:
    """Every mount but those of `writable`, which are mounts of their own. Device nodes keep working. Raises OSError."""
    sc.set_read_only("/", read_only=True, recursive=True)
    for folder in writable:
        sc.set_read_only(folder, read_only=False, recursive=False)


def _cover(folder: str, keep: Sequence[str], *, size: int) -> None:
    """Hide `folder` behind an empty file system of its own, leaving only the folders of `keep` in it."""
    inside = [path for path in keep if Path(folder) in Path(path).parents and Path(path).exists()]
    held = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in inside]
    try:
        mode = "1777" if folder in TEMPORARY else "0755"
        data = f"size={size},mode={mode},nr_inodes={_TEMPORARY_FILES}"
        sc.mount("tmpfs", folder, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, data)
        for path, descriptor in zip(inside, held, strict=True):
            Path(path).mkdir(parents=True, exist_ok=True)
            for parent in Path(path).parents:
                if Path(folder) in parent.parents:
                    parent.chmod(0o755)
            sc.mount(f"/proc/self/fd/{descriptor}", path, None, sc.MS_BIND | sc.MS_REC)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _close(path: str) -> None:
    """Let a device node stay and nobody open it: a driver then passes over that device. Another file becomes empty."""
    if not stat.S_ISCHR(Path(path).stat().st_mode):
        sc.mount("/dev/null", path, None, sc.MS_BIND)
        return
    sc.mount(path, path, None, sc.MS_BIND)
    # In a user namespace no flag of the mount that it came from may go.
    sc.mount(path, path, None, sc.MS_REMOUNT | sc.MS_BIND | sc.MS_NODEV | sc.MS_NOSUID | sc.MS_NOEXEC)


def _listening_sockets() -> list[str]:
    """Named sockets of the machine's daemons; the GPU driver's own stay, since CUDA may ask them."""
    found: list[str] = []
    for folder, folders, names in os.walk(_SOCKETS):
        if len(Path(folder).parts) >= _DEEPEST_SOCKET:
            folders.clear()
        found += [path for path in (f"{folder}/{name}" for name in names) if _DRIVER not in path and _is_socket(path)]
    return found


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:  # gone, or in a folder that we may not enter, and so may no worker
        return False


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
