"""A GPU's lane: the judge in a process of its own, which sees that GPU alone and keeps to its own cores.

Whatever breaks that process (a device that fails under it, say) ends with it: the pair is tried again in a fresh one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kbench.build.service import Build
from kbench.build.toolchain import Toolchain
from kbench.engine.events import Listener
from kbench.engine.prepare import Prepared
from kbench.engine.records import Outcome, make_record
from kbench.errors import InfraError
from kbench.machine.gpus import Gpu, see_only
from kbench.model import Job, Status, Verdict

PROGRAM = "kbench.engine.lane_program"
READY, STAGE, NOTE, OUTCOME, BROKEN = "ready", "stage", "note", "outcome", "broken"
"""What a lane says: a tuple that begins with one of these."""
_TRIES = 2
_STDERR = 2
_ENDING_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a lane is told once."""

    prepared: Prepared
    """With this lane's GPU alone."""
    toolchain: Toolchain
    run: Path
    environment_key: str
    first: Job
    """To warm up with."""


class _Broken(Exception):
    """The lane's process has ended, or said that it is of no use."""


class LaneProcess:
    """Owns the process; starts another where it has broken."""

    def __init__(self, order: Order, *, cores: Collection[int], listener: Listener, program: str = PROGRAM) -> None:
        """Start it. It gets ready while nobody waits for it."""
        self._order = order
        self._cores = cores
        self._listener = listener
        self._program = program
        self._turns = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._stopped = False
        self._process, self._connection = self._start()
        self._ready = False

    def submit(self, job: Job, build: Build) -> Future[Outcome]:
        """As `Lane.submit`."""
        return self._turns.submit(self._run, job, build)

    def close(self, *, at_once: bool) -> None:
        """End the process and all that it has started; `at_once`: in the middle of a pair."""
        self._stopped = True
        if at_once:
            self._process.send_signal(signal.SIGTERM)
            self._await_end()  # whoever listens to it hears that it has ended
        self._turns.shutdown(cancel_futures=True)
        self._end()

    def _run(self, job: Job, build: Build) -> Outcome:
        said = ""
        for _ in range(_TRIES):
            self._get_ready()
            try:
                self._connection.send((job, build))
                outcome: Outcome = self._hear(OUTCOME)[0]
                return outcome
            except (_Broken, OSError) as broken:
                said = str(broken)
                self._start_again()
        message = f"the judge broke in each of {_TRIES} tries: {said}"
        verdict = Verdict(status=Status.INFRA_ERROR, reason="judge", message=message)
        return make_record(job, build, verdict, self._order.environment_key), (), ()

    def _get_ready(self) -> None:
        """Raises InfraError where two processes in a row do not come so far."""
        if self._ready:
            return
        try:
            self._hear(READY)
        except _Broken:
            self._start_again()
            try:
                self._hear(READY)
            except _Broken as broken:
                name = self._order.prepared.gpu.name if self._order.prepared.gpu else "the device"
                raise InfraError(
                    f"{name} cannot be judged on", why=str(broken), hint="what has ended is kept: go on with --resume"
                ) from broken
        self._ready = True

    def _hear(self, awaited: str) -> list[Any]:
        """Pass on what the lane says until it says what is awaited. Raises _Broken."""
        while True:
            try:
                kind, *said = list[Any](self._connection.recv())
            except (EOFError, OSError):
                raise _Broken(f"its process ended with {self._process.wait()}") from None
            if kind == awaited:
                return said
            if kind == BROKEN:
                raise _Broken(said[0])
            if kind == STAGE:
                self._listener.stage(*said)
            elif kind == NOTE:
                self._listener.note(*said)

    def _start(self) -> tuple[subprocess.Popen[bytes], Connection]:
        environment = dict(os.environ)
        gpu = self._order.prepared.gpu
        if gpu is not None:
            see_only(gpu, environment, of=len(self._order.prepared.inventory.gpus))
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", self._program, str(theirs.fileno()), ",".join(map(str, sorted(self._cores)))],
                pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=_STDERR,
                start_new_session=True,
            )  # fmt: skip
        connection = Connection(ours.detach())
        with contextlib.suppress(OSError):  # it has ended already: whoever waits for it will hear
            connection.send(self._order)
        return process, connection

    def _start_again(self) -> None:
        if self._stopped:
            raise InfraError("the run was stopped")
        self._end()
        self._process, self._connection = self._start()
        self._ready = False
        if self._stopped:  # since, and it was the last process that was told
            self._process.send_signal(signal.SIGTERM)

    def _end(self) -> None:
        """By the one thread that has anything to do with the connection at the time."""
        self._connection.close()
        self._await_end()

    def _await_end(self) -> None:
        try:
            self._process.wait(_ENDING_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def lane_processes(
    gpus: Collection[tuple[Gpu, Collection[int]]], order: Order, listener: Listener
) -> Iterator[list[LaneProcess]]:
    """A lane for each GPU, on the cores beside it; each gets `order` with its own GPU."""
    lanes: list[LaneProcess] = []
    at_once = True
    try:
        for gpu, cores in gpus:
            own = dataclasses.replace(order, prepared=dataclasses.replace(order.prepared, gpus=(gpu,)))
            lanes.append(LaneProcess(own, cores=cores, listener=listener))
        yield lanes
        at_once = False
    finally:
        for lane in lanes:
            lane.close(at_once=at_once)
