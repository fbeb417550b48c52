"""The judge's end of one worker: ask, wait no longer than agreed, and turn every way to fail into a verdict."""

from __future__ import annotations

import contextlib
import json
import pickle
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from kbench import protocol
from kbench.assignment import Setup, Task, Welcome
from kbench.errors import InfraError
from kbench.model import Status, Verdict
from kbench.protocol import Failure, Kind
from kbench.sandbox.client import Confined, Ending

if TYPE_CHECKING:  # torch, which whoever only builds does not need
    from kbench.page import Page

_LAST_BREATH_S = 5.0
"""How long a process may take to end after its end of the connection was closed."""


class WorkerFailed(Exception):
    """A worker ended the conversation; `verdict` is what follows for its solution."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Seconds the worker may take for each kind of request."""

    load_s: float
    call_s: float


@dataclass(frozen=True, kw_only=True)
class Recruit:
    """A confined worker that has not been told what for."""

    welcome: Welcome
    process: Confined
    connection: socket.socket
    page: Page | None = None
    """Where it is to compute on a CUDA device: what it shares with the judge alone."""

    def close(self) -> Ending:
        """End the worker and its whole tree, and remove its scratch folder."""
        self.connection.close()
        return self.process.close()


class WorkerLink:
    """One worker process and the strict conversation with it about one file."""

    def __init__(self, task: Task, *, recruit: Recruit, deadlines: Deadlines) -> None:
        self.recruit = recruit
        self._process = recruit.process
        self._connection = recruit.connection
        self._channel = protocol.Channel(recruit.connection, bytes.fromhex(recruit.welcome.nonce))
        self._task = task
        self.deadlines = deadlines
        self._sequence = 0
        self._asked_at_s = time.monotonic()
        self._line_of = f"{task.shown_path}:"
        self.extensions = Path(task.extensions)
        self.loaded = self.constructed = False

    def load(self) -> None:
        """Import the file (and compile what it compiles). Raises WorkerFailed."""
        told = json.dumps(self._task.to_json()).encode()
        self._ask(Kind.LOAD, told, Kind.DONE, max_payload=0, timeout_s=self.deadlines.load_s)
        self.loaded = True

    def construct(self, setup: Setup) -> None:
        """Construct the module and map the shared memory. Raises WorkerFailed."""
        self._ask(Kind.CONSTRUCT, pickle.dumps(setup), Kind.DONE, max_payload=0, timeout_s=self.deadlines.load_s)
        self.constructed = True

    def set_state(self) -> None:
        """Take the parameters and buffers from shared memory. Raises WorkerFailed."""
        self._ask(Kind.SET_STATE, b"", Kind.DONE, max_payload=0, timeout_s=self.deadlines.call_s)

    def get_state(self) -> None:
        """Put the parameters and buffers into shared memory. Raises WorkerFailed."""
        self._ask(Kind.GET_STATE, b"", Kind.DONE, max_payload=0, timeout_s=self.deadlines.call_s)

    def release(self) -> None:
        """Let go of the module and of the shared memory; another file may be loaded then. Raises WorkerFailed."""
        self._ask(Kind.RELEASE, b"", Kind.DONE, max_payload=0, timeout_s=self.deadlines.call_s)

    def prepare(self, *, calls: int) -> None:
        """Let the worker do what a sample of so many calls needs before its inputs come. Raises WorkerFailed."""
        payload = protocol.pack_prepare(calls)
        self._ask(Kind.PREPARE, payload, Kind.DONE, max_payload=0, timeout_s=self.deadlines.call_s)

    def begin_sample(self, *, calls: int, gate: int) -> None:
        """Ask for `calls` forwards in a row; `end_sample` waits for the answer. Raises WorkerFailed."""
        self._request(Kind.SAMPLE, protocol.pack_sample(calls, gate), timeout_s=self.deadlines.call_s)

    def end_sample(self, *, expected: int, structure: str, timeout_s: float) -> protocol.Answer:
        """What came of it; `expected` tensors in `structure` are due. Raises WorkerFailed."""
        limit = protocol.sampled_bytes(expected, structure)
        payload = self._answer(Kind.SAMPLE, Kind.SAMPLED, max_payload=limit, timeout_s=timeout_s)
        try:
            return protocol.unpack_sampled(payload)
        except protocol.Violation as violation:
            raise WorkerFailed(self._violated(violation)) from None

    def has_news(self) -> bool:
        """Whether the worker has said something, or is gone."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def freeze(self) -> None:
        """Let none of its processes run until `thaw`, or the next request. Raises WorkerFailed where they resist."""
        if not self._process.frozen and not self._process.freeze():
            self.stop()
            said = "its processes kept waking each other up while they had to stand still for another side's turn"
            raise WorkerFailed(Verdict(status=Status.REJECTED, reason="will_not_rest", message=said))

    def thaw(self) -> None:
        """Let them go on."""
        self._process.thaw()

    def stop(self) -> Ending:
        """End the worker and its whole tree, whatever it is doing; its scratch folder stays."""
        self._connection.close()
        return self._process.kill()

    def close(self) -> Ending:
        """End the worker and remove its scratch folder."""
        return self.recruit.close()

    @property
    def ending(self) -> Ending | None:
        """How it ended; None while it runs."""
        return self._process.ending

    def __enter__(self) -> WorkerLink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, kind: Kind, payload: bytes, answer: Kind, *, max_payload: int, timeout_s: float) -> bytes:
        self._request(kind, payload, timeout_s=timeout_s)
        return self._answer(kind, answer, max_payload=max_payload, timeout_s=timeout_s)

    def _request(self, kind: Kind, payload: bytes, *, timeout_s: float) -> None:
        self._process.thaw()
        self._sequence += 1
        self._asked_at_s = time.monotonic()
        with self._failures_of(kind):
            if self._channel.pending():
                raise protocol.Violation(f"bytes came unasked before {kind.name}")
            self._channel.send(kind, self._sequence, payload, timeout_s=timeout_s)

    def _answer(self, kind: Kind, answer: Kind, *, max_payload: int, timeout_s: float) -> bytes:
        with self._failures_of(kind):
            frame = self._channel.receive(max_payload=max_payload, timeout_s=timeout_s)
            if frame.sequence != self._sequence:
                raise protocol.Violation(f"the answer to request {self._sequence} carried number {frame.sequence}")
            if frame.kind is Kind.FAILED:
                raise WorkerFailed(self._failed(*protocol.unpack_failed(frame.payload)))
            if frame.kind is not answer:
                raise protocol.Violation(f"{kind.name} was answered by {frame.kind.name}")
            return frame.payload

    @contextlib.contextmanager
    def _failures_of(self, kind: Kind) -> Iterator[None]:
        """Every way in which a conversation can end becomes a verdict."""
        try:
            yield
        except protocol.Violation as violation:
            raise WorkerFailed(self._violated(violation)) from None
        except protocol.DeadlinePassed:
            raise WorkerFailed(self._timed_out(kind)) from None
        except protocol.PeerGone:
            raise WorkerFailed(self._gone(kind)) from None

    def _violated(self, violation: protocol.Violation) -> Verdict:
        self.stop()
        return Verdict(
            status=Status.PROTOCOL_ERROR, reason="malformed", message=f"the worker broke the protocol: {violation}"
        )

    def _timed_out(self, kind: Kind) -> Verdict:
        waited_s = time.monotonic() - self._asked_at_s
        if (over := _limit_verdict(self.stop())) is not None:
            return over
        stage = _STAGES[kind]
        return Verdict(
            status=Status.TIMEOUT, reason=stage, message=f"no answer within {waited_s:.3g} s while {_DOING[stage]}"
        )

    def _gone(self, kind: Kind) -> Verdict:
        try:
            ending = self._process.wait(timeout_s=_LAST_BREATH_S)
        except InfraError:  # it hung up and lives on: its own doing, unless its supervisor is silent even now
            return self._violated(protocol.Violation("it closed the connection and went on running"))
        if ending.setup_error:
            return Verdict(status=Status.INFRA_ERROR, reason="sandbox", message=ending.setup_error)
        if (over := _limit_verdict(ending)) is not None:
            return over
        doing = _DOING[_STAGES[kind]]
        if ending.signal is not None:
            name = _signal_name(ending.signal)
            return Verdict(status=Status.CRASH, reason=name, message=f"the process died of {name} while {doing}")
        return Verdict(
            status=Status.CRASH,
            reason="exited",
            message=f"the process exited with code {ending.exit_code} while {doing}, without answering",
        )

    def _failed(self, failure: Failure, line: int, text: str) -> Verdict:
        status, reason = _FAILURES[failure]
        at = f"{self._line_of}{line}: " if line and failure is not Failure.BUILD else ""
        return Verdict(status=status, reason=reason, message=at + _summary(failure, text), evidence={"text": text})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


_STAGES = {
    Kind.LOAD: "load", Kind.CONSTRUCT: "construct", Kind.SET_STATE: "state", Kind.GET_STATE: "state",
    Kind.PREPARE: "call", Kind.SAMPLE: "call", Kind.RELEASE: "state",
}  # fmt: skip
_DOING = {
    "load": "the file was imported",
    "construct": "the module was constructed",
    "state": "parameters were copied",
    "call": "forward ran",
}
_FAILURES = {
    Failure.BUILD: (Status.BUILD_ERROR, "compile"),
    Failure.LOAD: (Status.LOAD_ERROR, "import"),
    Failure.CONSTRUCT: (Status.LOAD_ERROR, "constructor"),
    Failure.PARAMETERS: (Status.INCORRECT, "parameters"),
    Failure.RUNTIME: (Status.RUNTIME_ERROR, "exception"),
    Failure.OUT_OF_MEMORY: (Status.OUT_OF_MEMORY, "allocation"),
    Failure.DEVICE_FAULT: (Status.RUNTIME_ERROR, "device_fault"),
    Failure.STRUCTURE: (Status.INCORRECT, "structure"),
    Failure.OUTPUT_DEVICE: (Status.INCORRECT, "device"),
}

_CAUSED = "The above exception was the direct cause of the following exception"


def _summary(failure: Failure, text: str) -> str:
    """The line of a traceback that says what happened; a compiler's log is summarised by `build.diagnostics`."""
    lines = [line for line in text.strip().splitlines() if line.strip() and line != "[…]"]
    if failure is Failure.BUILD or not lines:
        return text.strip()[:2000] or "no message"
    starts = [i for i, line in enumerate(lines) if line == "Traceback (most recent call last):"]
    tail = lines[starts[-1] + 1 :] if starts else lines
    said = [line for line in tail if not line.startswith(" ")]
    if len(starts) > 1 and lines[starts[-1] - 1].startswith(_CAUSED):
        cause = [line for line in lines[starts[-2] + 1 : starts[-1] - 1] if not line.startswith(" ")]
        said = [*said[:2], *(f"because of {line}" for line in cause[:2])]
    return "\n".join(said[:4])[:2000] or lines[-1]


_LIMITS = {
    "memory": ("memory_limit", "the worker used more host memory than it may; hint: --memory-limit"),
    "disk": ("disk_limit", "the worker wrote more into its scratch folder than it may, in bytes or in files"),
    "processes": ("process_limit", "the worker started more processes and threads than it may"),
}


def _limit_verdict(ending: Ending) -> Verdict | None:
    """What follows for a worker that was ended for what it used."""
    if not ending.exceeded:
        return None
    reason, message = _LIMITS[ending.exceeded]
    return Verdict(status=Status.OUT_OF_MEMORY, reason=reason, message=message)
