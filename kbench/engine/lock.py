"""One timing at a time on a machine: a lock that vanishes with its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kbench.errors import InfraError


@contextmanager
def machine_lock(*, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold this user's lock on timing here; `waiting` hears once when another run has it first.

    Raises InfraError where no lock file can be made.
    """
    path = Path("/tmp") / f"kbench-{os.geteuid()}.lock"  # not TMPDIR: two runs must mean the same file
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InfraError("cannot lock this machine for timing", where=str(path), why=error.strerror) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting("waiting for another kbench run on this machine to end")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
