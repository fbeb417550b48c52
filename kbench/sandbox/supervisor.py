"""One supervisor per worker: builds the walls, drains its output, watches its memory, clears its tree away.

    fork server ── supervisor ── init (PID 1 of the worker's namespace) ── worker

The supervisor never runs candidate code. Its lifeline to the judge is a socket: when the judge closes it, or dies,
everything below the supervisor is killed. When the worker has ended and its tree is gone, the supervisor writes one
JSON line (the `Ending`) and exits.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kbench.sandbox import confine
from kbench.sandbox import syscalls as sc

_POLL_S = 0.1
FREEZE, THAW, OBEYED = b"F", b"T", b"."
"""What the judge may say over the lifeline, and the answer."""
_SIGNALS = {FREEZE: signal.SIGSTOP, THAW: signal.SIGCONT}
_WORKER_EDGE_EXIT = 70
"""Exit code of a worker whose own set-up (not the candidate) failed: EX_SOFTWARE of sysexits.h."""


def supervise(
    walls: confine.Walls, target: Callable[[], None], *, lifeline: socket.socket, log: int, inherited: tuple[int, ...]
) -> None:
    """Run `target` behind `walls` until it ends, the lifeline closes, or memory runs out. Never returns normally.

    `log` receives at most `limits.output_bytes` of what the worker prints; `inherited` descriptors stay open in it.
    """
    os.setsid()
    sc.prctl(sc.PR_SET_CHILD_SUBREAPER, 1)
    layers = {"session": "on", "watchdog": "on"}
    confine.unshare_pids(layers)
    status_r, status_w = os.pipe()
    output_r, output_w = os.pipe()
    init = os.fork()
    if init == 0:
        _run_init(walls, layers, target, keep=(*inherited, status_w, output_w), status=status_w, output=output_w)
    os.close(status_w)
    os.close(output_w)
    given = sum(os.fstat(descriptor).st_size for descriptor in inherited)
    for descriptor in inherited:
        os.close(descriptor)
    watch = _Watch(walls.limits, given=given, init=init, lifeline=lifeline, status=status_r, output=output_r, log=log)
    watch.until_end()
    _kill_tree(init)
    watch.drain_output()
    with contextlib.suppress(OSError):
        lifeline.sendall(json.dumps(watch.ending()).encode() + b"\n")
    os._exit(0)


class _Watch:
    """The supervisor's loop: output into the log, memory against the limit, the judge's word."""

    def __init__(
        self,
        limits: confine.Limits,
        *,
        given: int,
        init: int,
        lifeline: socket.socket,
        status: int,
        output: int,
        log: int,
    ) -> None:
        """`given`: bytes of shared memory that the judge handed over; they are not the worker's."""
        self._limits = limits
        self._given = given
        self._init = init
        self._lifeline = lifeline
        self._status = status
        self._output = output
        self._log = log
        self._reports = b""
        self._written = 0
        self._dropped = 0
        self._peak_bytes = 0
        self._out_of_memory = False
        self._killed = False

    def until_end(self) -> None:
        os.set_blocking(self._output, False)
        open_ends: list[Any] = [self._lifeline, self._status, self._output]
        next_look = 0.0
        while self._status in open_ends:
            ready, _, _ = select.select(open_ends, [], [], _POLL_S)
            if self._lifeline in ready and not self._obey():
                self._killed = True
                return
            if self._status in ready:
                chunk = os.read(self._status, 65536)
                self._reports += chunk
                if not chunk:
                    open_ends.remove(self._status)
            if self._output in ready and not self._read_output():
                open_ends.remove(self._output)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _POLL_S
                if self._over_memory():
                    self._out_of_memory = True
                    return

    def _obey(self) -> bool:
        """Do as the judge says over the lifeline. False when it has hung up."""
        order = self._lifeline.recv(1)
        if order not in _SIGNALS:
            return False
        _signal_tree(self._init, _SIGNALS[order])
        with contextlib.suppress(OSError):
            self._lifeline.sendall(OBEYED)
        return True

    def _read_output(self) -> bool:
        try:
            chunk = os.read(self._output, 65536)
        except BlockingIOError:
            return True
        room = max(0, self._limits.output_bytes - self._written)
        kept = chunk[:room]
        with contextlib.suppress(OSError):
            os.write(self._log, kept)
        self._written += len(kept)
        self._dropped += len(chunk) - len(kept)
        return bool(chunk)

    def drain_output(self) -> None:
        """What the dead worker left in the pipe. Bounded by the pipe's own size: nothing writes any more."""
        for _ in range(64):
            if not select.select([self._output], [], [], 0)[0] or not self._read_output():
                break
        if self._dropped:
            with contextlib.suppress(OSError):
                os.write(self._log, f"\n[kbench: {self._dropped} further bytes of output dropped]\n".encode())

    def _over_memory(self) -> bool:
        used = sum(_own_bytes(pid, given=self._given) for pid in _tree(self._init))
        self._peak_bytes = max(self._peak_bytes, used)
        return used > self._limits.memory_bytes

    def ending(self) -> dict[str, Any]:
        """What the judge is told: how the worker ended, and which walls stood."""
        told: dict[str, Any] = {"layers": {}, "exit_code": None, "signal": None, "setup_error": ""}
        for line in self._reports.splitlines():
            told.update(json.loads(line))
        told.update(
            killed=self._killed,
            out_of_memory=self._out_of_memory,
            peak_bytes=self._peak_bytes,
            output_dropped=self._dropped,
        )
        return told


def _run_init(
    walls: confine.Walls,
    layers: dict[str, str],
    target: Callable[[], None],
    *,
    keep: tuple[int, ...],
    status: int,
    output: int,
) -> None:
    """PID 1 of the worker's namespace: sets the scene, forks the worker, reaps, reports its exit. Never returns."""
    try:
        _close_all_but(keep)
        confine.build_namespaces(walls, layers)
        worker = os.fork()
        if worker == 0:
            _run_worker(walls, layers, target, status=status, output=output)
        os.close(output)
        _report(status, {"exit_code": None, "signal": None, **_wait_for(worker)})
    except BaseException as error:
        _report(status, {"setup_error": f"{type(error).__name__}: {error}"})
    os._exit(0)


def _wait_for(worker: int) -> dict[str, int]:
    while True:
        pid, status = os.wait()
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            return {"signal": -code} if code < 0 else {"exit_code": code}


def _run_worker(
    walls: confine.Walls, layers: dict[str, str], target: Callable[[], None], *, status: int, output: int
) -> None:
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for source, place in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, place)
        os.close(output)
        os.close(null)
        os.chdir(walls.scratch)
        confine.drop_privileges(walls, layers)
        _report(status, {"layers": layers})
        os.close(status)
    except BaseException as error:
        _report(status, {"setup_error": f"{type(error).__name__}: {error}"})
        os._exit(_WORKER_EDGE_EXIT)
    target()
    os._exit(0)


def _report(status: int, value: dict[str, Any]) -> None:
    os.write(status, json.dumps(value).encode() + b"\n")


def _close_all_but(keep: tuple[int, ...]) -> None:
    wanted = {0, 1, 2, *keep}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in wanted:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _tree(root: int) -> list[int]:
    """`root` and all its living descendants, by the kernel's own lists of children."""
    found: list[int] = []
    todo = [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for task in _children_files(pid):
            with contextlib.suppress(OSError):
                todo += [int(child) for child in task.read_text().split()]
    return found


def _signal_tree(init: int, number: signal.Signals) -> None:
    """Signal everything below `init`, also what was forked meanwhile."""
    reached: set[int] = set()
    while new := set(_tree(init)[1:]) - reached:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        reached |= new


def _children_files(pid: int) -> list[Path]:
    try:
        return [Path(f"/proc/{pid}/task/{task}/children") for task in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _own_bytes(pid: int, *, given: int) -> int:
    """A process's resident memory that no file backs: private, and shared beyond what it was `given`."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Rss")}
    return sizes.get("RssAnon", 0) + max(0, sizes.get("RssShmem", 0) - given)


def _kill_tree(init: int) -> None:
    """SIGKILL the namespace's init (the kernel then kills all of it), then whatever was re-parented to us."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(init, signal.SIGKILL)
    while True:
        for pid in _tree(os.getpid())[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return
