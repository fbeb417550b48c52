"""One supervisor per worker: builds the walls, drains its output, watches what it uses, clears its tree away.

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
from typing import Any

from kbench.sandbox import confine, watch
from kbench.sandbox import syscalls as sc

_POLL_S = 0.1
FREEZE, LOG, OBEYED = b"F", b"L", b"."
"""What the judge may say over the lifeline, and how the answer to `FREEZE` begins: a JSON line with the processes that
stand still, `null` where they will not. To let them go on is the judge's own signal: nothing is nearer to the clock.
`LOG` comes with a descriptor, where the output goes from then on."""
_FREEZE_ROUNDS, _FREEZE_ROUND_S = 20, 0.02
_WORKER_EDGE_EXIT = 70
"""Exit code of a worker whose own set-up (not the candidate) failed: EX_SOFTWARE of sysexits.h."""


def supervise(
    walls: confine.Walls, target: Callable[[], None], *, lifeline: socket.socket, log: int, inherited: tuple[int, ...]
) -> None:
    """Run `target` behind `walls` until it ends, the lifeline closes, or a limit is passed. Never returns normally.

    `log` receives at most `limits.output_bytes` of what the worker prints; `inherited` descriptors stay open in it.
    """
    os.setsid()
    sc.prctl(sc.PR_SET_CHILD_SUBREAPER, 1)
    layers = {"session": "on", "watchdog": "on"}
    confine.enter_namespaces(walls, layers)
    status_r, status_w = os.pipe()
    output_r, output_w = os.pipe()
    init = os.fork()
    if init == 0:
        _run_init(walls, layers, target, keep=(*inherited, status_w, output_w), status=status_w, output=output_w)
    os.close(status_w)
    os.close(output_w)
    given = watch.given(inherited)
    for descriptor in inherited:
        os.close(descriptor)
    gauge = watch.Gauge(init, walls.scratch, walls.limits, given)
    vigil = _Vigil(walls.limits, init=init, gauge=gauge, lifeline=lifeline, status=status_r, output=output_r, log=log)
    try:
        vigil.until_end()
    finally:
        _kill_tree(init)
    vigil.drain_output()
    with contextlib.suppress(OSError):
        lifeline.sendall(json.dumps(vigil.ending()).encode() + b"\n")
    os._exit(0)


class _Vigil:
    """The supervisor's loop: output into the log, use against the limits, the judge's word."""

    def __init__(
        self,
        limits: confine.Limits,
        *,
        init: int,
        gauge: watch.Gauge,
        lifeline: socket.socket,
        status: int,
        output: int,
        log: int,
    ) -> None:
        self._limits = limits
        self._init = init
        self._gauge = gauge
        self._lifeline = lifeline
        self._status = status
        self._output = output
        self._log = log
        self._reports = b""
        self._written = 0
        self._dropped = 0
        self._exceeded = ""
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
                self._exceeded = self._gauge.exceeded()
                if self._exceeded:
                    return

    def _obey(self) -> bool:
        """Do as the judge says over the lifeline. False when it has hung up."""
        try:
            order, descriptors, _, _ = socket.recv_fds(self._lifeline, 1, 1)
        except ConnectionError:  # it died with an answer of ours unread
            return False
        if order == LOG and descriptors:
            self.drain_output()  # what was said before belongs where it went before
            os.close(self._log)
            self._log, self._written, self._dropped = descriptors[0], 0, 0
            return True
        if order != FREEZE:
            return False
        below = _freeze(self._init)
        with contextlib.suppress(OSError):
            self._lifeline.sendall(OBEYED + json.dumps(below).encode() + b"\n")
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
        """What lies in the pipe: no more than it holds, where nothing writes any more."""
        for _ in range(64):
            if not select.select([self._output], [], [], 0)[0] or not self._read_output():
                break
        if self._dropped:
            with contextlib.suppress(OSError):
                os.write(self._log, f"\n[kbench: {self._dropped} further bytes of output dropped]\n".encode())

    def ending(self) -> dict[str, Any]:
        """What the judge is told: how the worker ended, and which walls stood."""
        told: dict[str, Any] = {"layers": {}, "exit_code": None, "signal": None, "setup_error": ""}
        for line in self._reports.splitlines():
            told.update(json.loads(line))
        told.update(
            killed=self._killed,
            exceeded=self._exceeded,
            peak_bytes=self._gauge.peak_bytes,
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


def _freeze(init: int) -> list[int] | None:
    """SIGSTOP everything below `init` until all of it stands still. Returns it, or None where it will not.

    Whoever stands still wakes nobody up again, so a few rounds are enough for all but processes that mean to resist.
    """
    for _ in range(_FREEZE_ROUNDS):
        below = watch.tree(init)[1:]
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + _FREEZE_ROUND_S
        while not (still := all(watch.stands_still(pid) for pid in below)) and time.monotonic() < deadline:
            os.sched_yield()
        if still and set(watch.tree(init)[1:]) <= set(below):
            return below
    return None


def _kill_tree(init: int) -> None:
    """SIGKILL the namespace's init (the kernel then kills all of it), then whatever was re-parented to us."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(init, signal.SIGKILL)
    while True:
        for pid in watch.tree(os.getpid())[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return
