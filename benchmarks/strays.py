"""Find and end the processes that a killed run left behind.

Workers are forked by a server that gets a cleaned environment and a session of its own, so neither a process group nor
an arbitrary variable finds them. `VIRTUAL_ENV` reaches the server, its forks and their compilers; and whatever loses
its parent becomes a child of ours (`adopt_orphans`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from kbench.sandbox import syscalls
from kbench.sandbox.watch import tree

MARKED_BY = "VIRTUAL_ENV"
"""Reaches every process of a run, and nothing there reads it."""
_POLL_S = 0.05


def adopt_orphans() -> None:
    """From now on this process, not init, inherits what its descendants leave behind."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)


def strays(needles: Sequence[str]) -> dict[int, str]:
    """States and command lines, by process id, of our descendants and of all that name one of `needles`, in their
    environment or command line. Zombies are reaped where they are ours, and count as gone."""
    _reap()
    found: dict[int, str] = {}
    own = os.getpid()
    ours = set(tree(own))
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        called, around = _read(folder / "cmdline"), _read(folder / "environ")
        named = any(needle.encode() in called + b"\0" + around for needle in needles)
        state = _state(folder)
        if pid != own and (pid in ours or named) and state not in ("", "Z"):
            found[pid] = f"{state} {called.replace(bytes(1), b' ').decode(errors='replace').strip()}"
    return found


def await_none(needles: Sequence[str], *, deadline_s: float) -> tuple[float, dict[int, str]]:
    """Wait until there are none. Returns the seconds it took and those that stayed, who are then killed."""
    begun = time.monotonic()
    while (left := strays(needles)) and time.monotonic() - begun < deadline_s:
        time.sleep(_POLL_S)
    took = time.monotonic() - begun
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return took, left


def _state(process: Path) -> str:
    """The kernel's letter for it; nothing where it is gone."""
    return _read(process / "stat").rpartition(b")")[2].decode().strip()[:1]


def _read(path: Path) -> bytes:
    """Nothing where it is gone, or not ours to see."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
