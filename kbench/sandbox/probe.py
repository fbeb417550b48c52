"""Which walls can stand on this machine: tried for real around a process that does nothing."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from kbench.sandbox import confine, identity
from kbench.sandbox.client import Confined, Ending, interpreter_folders
from kbench.sandbox.supervisor import supervise

_UID = 61000
_PROBE_LIMITS = confine.Limits(memory_bytes=1 << 30)


def probe_layers() -> dict[str, str]:
    """Each layer of `confine.LAYERS` to `on`, `off: why` or `not needed: why`.

    Raises InfraError when not even a process starts.
    """
    uid = _UID if identity.can_become(_UID) else None
    root = Path(tempfile.mkdtemp(prefix="kbench-probe-"))
    root.chmod(0o711)
    scratch = root / "w0"
    scratch.mkdir(mode=0o700)
    if uid is not None:
        os.chown(scratch, uid, uid)
    try:
        ending = _run_nothing(scratch, uid)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    fallback = f"off: {ending.setup_error or 'not reached'}"
    return {name: ending.layers.get(name, fallback) for name in confine.LAYERS}


def _run_nothing(scratch: Path, uid: int | None) -> Ending:
    walls = confine.Walls(scratch=str(scratch), uid=uid, visible=interpreter_folders(), limits=_PROBE_LIMITS)
    ours, theirs = socket.socketpair()
    with Path(os.devnull).open("wb") as log:
        child = os.fork()
        if child == 0:
            ours.close()
            try:
                supervise(walls, lambda: None, lifeline=theirs, log=log.fileno(), inherited=())
            finally:
                os._exit(1)
    theirs.close()
    process = Confined(ours, scratch, Path(os.devnull), uid)
    process.wait(30.0)
    ending = process.close()
    os.waitpid(child, 0)
    return ending
