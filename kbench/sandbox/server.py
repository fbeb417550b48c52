"""The fork server: a process that has torch imported and no CUDA context, and forks supervisors on request.

Requests come from the judge alone, over one socket: a JSON line with descriptors beside it (SCM_RIGHTS).
A fork from here has a working torch in 0.3 s; a fresh interpreter needs 3 s.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from kbench.importing import without_collection
from kbench.sandbox import confine
from kbench.sandbox.removal import remove_folder
from kbench.sandbox.supervisor import supervise

MAX_REQUEST_BYTES = 1 << 20
MAX_DESCRIPTORS = 16


def serve(requests: socket.socket) -> None:
    """Fork one supervisor per request until the judge hangs up. Raises nothing: a bad request is a bug of ours."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, descriptors, flags, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, MAX_DESCRIPTORS)
        if not data:
            return
        if flags & socket.MSG_CTRUNC:
            raise RuntimeError("the kernel dropped descriptors of a request")
        if os.fork() == 0:
            requests.close()
            _become_supervisor(json.loads(data), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _become_supervisor(request: dict[str, Any], descriptors: list[int]) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        lifeline, log, *inherited = descriptors
        walls = confine.Walls(
            scratch=request["scratch"],
            uid=request["uid"],
            visible=tuple(request["visible"]),
            hidden=tuple(request["hidden"]),
            writable=tuple(request["writable"]),
            offered=tuple(request["offered"]),
            limits=confine.Limits(**request["limits"]),
        )
        module, function = request["target"].split(":")
        target = getattr(importlib.import_module(module), function)

        supervise(
            walls,
            lambda: target(request["task"], inherited),
            lifeline=socket.socket(fileno=lifeline),
            log=log,
            inherited=tuple(inherited),
        )
    finally:
        os._exit(1)


def main() -> None:
    """Entry point: `python -m kbench.sandbox.server FD FOLDER [MODULE…]` imports the modules, says ready, serves.

    Removes FOLDER, where all scratch folders are, when the judge has hung up: a judge that was killed cannot.
    """
    os.setsid()
    descriptor, folder = int(sys.argv[1]), sys.argv[2]
    cores = os.sched_getaffinity(0)
    with without_collection():
        for module in sys.argv[3:]:
            importlib.import_module(module)
        gc.freeze()  # all of it stays, and unvisited its pages stay shared with what is forked
    os.sched_setaffinity(0, cores)  # an OpenMP that pins its threads has pinned us too, and with us all that we fork
    with socket.socket(fileno=descriptor) as requests, contextlib.suppress(ConnectionError):
        requests.sendall(b"ready")
        serve(requests)
    with contextlib.suppress(ChildProcessError):
        os.wait()  # SIGCHLD is ignored, so this returns when every supervisor has ended
    remove_folder(Path(folder))
    os._exit(0)  # taking down an interpreter that holds torch takes most of a second, and tidies nothing up


if __name__ == "__main__":
    main()
