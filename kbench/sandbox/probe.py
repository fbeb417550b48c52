"""Which walls can stand on this machine: tried for real around a process that does nothing."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from kbench.sandbox import confine
from kbench.sandbox.client import Confined, interpreter_folders
from kbench.sandbox.supervisor import supervise

_PROBE_LIMITS = confine.Limits(memory_bytes=1 << 30)


def probe_layers() -> dict[str, str]:
    """Each layer of `confine.LAYERS` to `on`, or `off: why`. Raises InfraError when not even a process starts."""
    uid = 61000 if os.geteuid() == 0 else None
    scratch = Path(tempfile.mkdtemp(prefix="kbench-probe-"))
    if uid is not None:
        os.chown(scratch, uid, uid)
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
    process = Confined(ours, scratch, Path(os.devnull))
    process.wait(30.0)
    ending = process.close()
    os.waitpid(child, 0)
    if ending.setup_error:
        return {name: ending.layers.get(name, f"off: {ending.setup_error}") for name in confine.LAYERS}
    return {name: ending.layers.get(name, "off: not reached") for name in confine.LAYERS}
