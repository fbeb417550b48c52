"""One timing at a time: locks that vanish with their holder, the same files for every user of a machine.

A run on the CPU has the machine to itself. Runs on CUDA share it, one on each GPU.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kbench.errors import InfraError
from kbench.machine.gpus import Gpu

_FOR_ALL = 0o666
_TURN_S, _LOOK_S = 1.0, 1e-3


@contextmanager
def timing_lock(gpu: Gpu | None, *, folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the right to time on a GPU, or on the CPU (None); `waiting` hears once when another run has it first.

    `folder` must be the same for all runs of the machine.

    Raises InfraError where a lock file can be neither opened nor made.
    """
    with _locked(folder / "kbench.lock", alone=gpu is None, waiting=waiting):
        if gpu is None:
            yield
            return
        with _locked(folder / f"kbench-{gpu.uuid or 'gpu'}.lock", alone=True, waiting=waiting):
            yield


@contextmanager
def context_turn(*, folder: Path) -> Iterator[None]:
    """Make CUDA contexts while no other run and no other GPU's lane does so, or once that took a second.

    The driver makes one at a time for the whole machine. Of two who ask at once each waits for both; and as they are
    then ready together, they go on to ask at once. Whoever waited for a turn finds the driver free the next time.

    `folder` must be the same for all runs of the machine. Raises InfraError where a lock file can be neither opened
    nor made.
    """
    descriptor = _opened(folder / "kbench-contexts.lock")
    try:
        deadline = time.monotonic() + _TURN_S
        while not _took(descriptor) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _took(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path, *, alone: bool, waiting: Callable[[str], None]) -> Iterator[None]:
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting("waiting for another kbench run on this machine to end")
            fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """A file of whoever came first. Linux lets nobody *create* over another's file in /tmp, so opening comes first."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, _FOR_ALL)
            os.fchmod(descriptor, _FOR_ALL)  # whatever the umask
            return descriptor
    except OSError as error:
        raise InfraError("cannot lock this machine for timing", where=str(path), why=error.strerror) from error
