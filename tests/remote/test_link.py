"""The judge's end of a worker, against workers that answer as badly as they like."""

from __future__ import annotations

import json
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from kbench import protocol
from kbench.assignment import Task, Welcome
from kbench.errors import InfraError
from kbench.model import Status, Verdict
from kbench.protocol import Answer, Failure, Kind, OutputForm
from kbench.remote.link import Deadlines, Recruit, WorkerFailed, WorkerLink
from kbench.sandbox.client import Confined, Ending

NONCE = bytes(range(16))
TASK = Task(
    role="candidate", path="/scratch/candidate.py", shown_path="softmax/v3.py", class_name="ModelNew",
    threads=1, precision="fp32",
)  # fmt: skip
TOLD = json.dumps(TASK.to_json()).encode()


def ending(**fields: Any) -> Ending:
    basis: dict[str, Any] = {
        "exit_code": None, "signal": None, "exceeded": "", "killed": False, "peak_bytes": 0,
        "output_dropped": 0, "setup_error": "",
    }  # fmt: skip
    return Ending(**(basis | fields))


@dataclass
class FakeProcess:
    """Ends as told; where it `lives_on`, only killing ends it."""

    end: Ending = field(default_factory=lambda: ending(exit_code=0))
    lives_on: bool = False
    killed: int = 0
    rests: bool = True
    ending: Ending | None = None
    frozen: bool = False

    def freeze(self) -> bool:
        self.frozen = self.rests
        return self.rests

    def thaw(self) -> None:
        self.frozen = False

    def wait(self, timeout_s: float) -> Ending:
        if self.lives_on and not self.killed:
            raise InfraError("a worker's supervisor did not report its end")
        return self.end

    def kill(self) -> Ending:
        self.killed += 1
        return self.end

    close = kill


def linked(process: FakeProcess, connection: socket.socket, deadlines: Deadlines) -> WorkerLink:
    """A link to a worker that is that process."""
    recruit = Recruit(
        welcome=Welcome(nonce=NONCE.hex()), process=cast(Confined, process), connection=connection
    )
    return WorkerLink(TASK, recruit=recruit, deadlines=deadlines)


@dataclass
class Scene:
    link: WorkerLink
    worker: socket.socket
    process: FakeProcess

    def will_answer(self, kind: int, payload: bytes = b"", *, sequence: int = 1, nonce: bytes = NONCE) -> None:
        """Lay the bytes ready. They come unasked, unless `link` is asked through `ask`."""
        self.worker.sendall(struct.pack("<4sHHQ16sI12x", b"KBW1", 1, kind, sequence, nonce, len(payload)) + payload)

    def verdict(self) -> Verdict:
        with pytest.raises(WorkerFailed) as failed:
            self.link.load()
        return failed.value.verdict


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A link whose worker's answers are written beforehand: only the first look for unasked bytes is left out."""
    ours, theirs = socket.socketpair()
    process = FakeProcess()
    link = linked(process, ours, Deadlines(load_s=5.0, call_s=5.0))
    with ours, theirs:
        monkeypatch.setattr(protocol.Channel, "pending", lambda _: False)
        yield Scene(link, theirs, process)


@pytest.fixture
def strict(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The same with that look in place."""
    monkeypatch.undo()
    return scene


def test_a_request_carries_kind_number_and_nonce(scene: Scene) -> None:
    scene.will_answer(Kind.DONE)
    scene.will_answer(Kind.DONE, sequence=2)
    scene.link.load()
    scene.link.set_state()
    sent = scene.worker.recv(4096)
    assert [struct.unpack_from("<4sHHQ16sI12x", sent, at) for at in (0, 48 + len(TOLD))] == [
        (b"KBW1", 1, Kind.LOAD, 1, NONCE, len(TOLD)),
        (b"KBW1", 1, Kind.SET_STATE, 2, NONCE, 0),
    ]
    assert sent[48 : 48 + len(TOLD)] == TOLD


@pytest.mark.parametrize(
    ("kind", "payload", "changes", "says"),
    [
        (Kind.DONE, b"", {"sequence": 2}, "request 1 carried number 2"),
        (Kind.DONE, b"", {"sequence": 0}, "request 1 carried number 0"),
        (Kind.DONE, b"", {"sequence": 2**64 - 1}, "carried number"),
        (Kind.FAILED, protocol.pack_failed(Failure.LOAD, 0, ""), {"sequence": 2}, "carried number 2"),
        (Kind.DONE, b"", {"nonce": bytes(16)}, "wrong nonce"),
        (Kind.DONE, b"x", {}, "announced 1 bytes"),
        (Kind.SAMPLED, b"", {}, "LOAD was answered by SAMPLED"),
        (Kind.LOAD, b"", {}, "LOAD was answered by LOAD"),
        (200, b"", {}, "unknown kind 200"),
        (Kind.FAILED, b"", {}, "too short"),
        (Kind.FAILED, struct.pack("<HI", 99, 0), {}, "unknown failure 99"),
        (Kind.FAILED, struct.pack("<HI", 10, 0), {}, "unknown failure 10"),
    ],
)
def test_a_violation_ends_the_worker_as_a_protocol_error(
    scene: Scene, kind: int, payload: bytes, changes: dict[str, Any], says: str
) -> None:
    scene.will_answer(kind, payload, **changes)
    verdict = scene.verdict()
    assert verdict.status is Status.PROTOCOL_ERROR
    assert says in verdict.message
    assert scene.process.killed


def test_bytes_that_are_no_frame_are_a_protocol_error(scene: Scene) -> None:
    scene.worker.sendall(b'{"status": "correct", "speedup": 104.0}' + bytes(48))
    assert scene.verdict().status is Status.PROTOCOL_ERROR


def test_an_answer_before_its_request_is_a_protocol_error(strict: Scene) -> None:
    strict.will_answer(Kind.DONE)
    verdict = strict.verdict()
    assert verdict.status is Status.PROTOCOL_ERROR
    assert "unasked before LOAD" in verdict.message


def test_a_duplicate_answer_is_found_at_the_next_request(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.will_answer(Kind.DONE)
    scene.will_answer(Kind.DONE)
    scene.link.load()
    monkeypatch.undo()
    with pytest.raises(WorkerFailed) as failed:
        scene.link.set_state()
    assert failed.value.verdict.status is Status.PROTOCOL_ERROR


def test_an_answer_kept_for_later_does_not_fit_the_next_request(scene: Scene) -> None:
    scene.will_answer(Kind.DONE)
    scene.will_answer(Kind.DONE)
    scene.link.load()
    with pytest.raises(WorkerFailed, match="request 2 carried number 1"):
        scene.link.set_state()


@pytest.mark.parametrize(
    ("ask", "stage"),
    [("load", "load"), ("set_state", "state"), ("get_state", "state"), ("end_sample", "call")],
)
def test_silence_is_a_timeout_that_names_the_stage(ask: str, stage: str) -> None:
    ours, theirs = socket.socketpair()
    process = FakeProcess()
    deadlines = Deadlines(load_s=0.001, call_s=0.001)
    link = linked(process, ours, deadlines)
    options: dict[str, Any] = {"end_sample": {"expected": 1, "structure": "T", "timeout_s": 0.001}}
    with ours, theirs, pytest.raises(WorkerFailed) as failed:
        getattr(link, ask)(**options.get(ask, {}))
    verdict = failed.value.verdict
    assert (verdict.status, verdict.reason) == (Status.TIMEOUT, stage)
    assert "no answer within" in verdict.message and process.killed


def test_silence_of_a_worker_killed_for_its_memory_is_out_of_memory() -> None:
    ours, theirs = socket.socketpair()
    process = FakeProcess(end=ending(exceeded="memory"))
    link = linked(process, ours, Deadlines(load_s=0.001, call_s=0.001))
    with ours, theirs, pytest.raises(WorkerFailed) as failed:
        link.load()
    assert failed.value.verdict.status is Status.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("end", "status", "reason", "says"),
    [
        (ending(exit_code=0), Status.CRASH, "exited", "code 0"),
        (ending(exit_code=3), Status.CRASH, "exited", "code 3"),
        (ending(signal=signal.SIGSEGV), Status.CRASH, "SIGSEGV", "died of SIGSEGV while the file was imported"),
        (ending(signal=40), Status.CRASH, "signal 40", "died of signal 40"),
        (ending(signal=signal.SIGKILL, exceeded="memory"), Status.OUT_OF_MEMORY, "memory_limit", "host memory"),
        (ending(signal=signal.SIGKILL, exceeded="disk"), Status.OUT_OF_MEMORY, "disk_limit", "scratch folder"),
        (ending(signal=signal.SIGKILL, exceeded="processes"), Status.OUT_OF_MEMORY, "process_limit", "processes"),
        (ending(setup_error="no namespaces"), Status.INFRA_ERROR, "sandbox", "no namespaces"),
    ],
)
def test_a_worker_that_is_gone_is_judged_by_its_end(
    scene: Scene, end: Ending, status: Status, reason: str, says: str
) -> None:
    scene.process.end = end
    scene.worker.close()
    verdict = scene.verdict()
    assert (verdict.status, verdict.reason) == (status, reason)
    assert says in verdict.message


def test_half_an_answer_and_an_exit_is_a_crash(scene: Scene) -> None:
    scene.worker.sendall(b"KBW1" + bytes(10))
    scene.worker.close()
    assert scene.verdict().status is Status.CRASH


def test_a_worker_that_hangs_up_and_lives_on_is_no_fault_of_ours(scene: Scene) -> None:
    scene.process.lives_on = True
    scene.process.end = ending(signal=signal.SIGKILL, killed=True)
    scene.worker.close()
    verdict = scene.verdict()
    assert verdict.status is Status.PROTOCOL_ERROR
    assert "went on running" in verdict.message and scene.process.killed


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (Failure.BUILD, Status.BUILD_ERROR, "compile"),
        (Failure.LOAD, Status.LOAD_ERROR, "import"),
        (Failure.CONSTRUCT, Status.LOAD_ERROR, "constructor"),
        (Failure.PARAMETERS, Status.INCORRECT, "parameters"),
        (Failure.RUNTIME, Status.RUNTIME_ERROR, "exception"),
        (Failure.OUT_OF_MEMORY, Status.OUT_OF_MEMORY, "allocation"),
        (Failure.DEVICE_FAULT, Status.RUNTIME_ERROR, "device_fault"),
        (Failure.STRUCTURE, Status.INCORRECT, "structure"),
        (Failure.OUTPUT_DEVICE, Status.INCORRECT, "device"),
    ],
)
def test_a_confessed_failure_is_taken_at_its_word(scene: Scene, failure: Failure, status: Status, reason: str) -> None:
    scene.will_answer(Kind.FAILED, protocol.pack_failed(failure, 0, "it broke"))
    verdict = scene.verdict()
    assert (verdict.status, verdict.reason, verdict.message) == (status, reason, "it broke")


def test_whatever_a_worker_claims_of_itself_counts_against_it(scene: Scene) -> None:
    for number, failure in enumerate(Failure, start=1):
        scene.will_answer(Kind.FAILED, protocol.pack_failed(failure, 0, ""), sequence=number)
        assert scene.verdict().status.is_failure


def test_a_traceback_is_summed_up_by_its_last_lines_at_the_solutions_own_line(scene: Scene) -> None:
    text = (
        "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nKeyError: 'x'\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "softmax/v3.py", line 19, in forward\n    h()\nValueError: no\n'
    )
    scene.will_answer(Kind.FAILED, protocol.pack_failed(Failure.RUNTIME, 19, text))
    verdict = scene.verdict()
    assert verdict.message == "softmax/v3.py:19: ValueError: no"
    assert verdict.evidence["text"] == text


def test_a_failure_without_words_still_has_a_message(scene: Scene) -> None:
    scene.will_answer(Kind.FAILED, protocol.pack_failed(Failure.RUNTIME, 0, " \n "))
    assert scene.verdict().message == "no message"


FORMS = (OutputForm(dtype="float32", shape=(2, 3), strides=(3, 1)),)
ANSWER = Answer(total_ns=5e15, enqueue_ns=2.0, structure="T", forms=FORMS)


def sample(scene: Scene) -> Answer:
    scene.link.begin_sample(calls=3, gate=40)
    return scene.link.end_sample(expected=1, structure="T", timeout_s=5.0)


def test_a_sample_asks_for_its_calls_and_brings_the_claim_and_the_forms(scene: Scene) -> None:
    scene.will_answer(Kind.SAMPLED, protocol.pack_sampled(ANSWER))
    assert sample(scene) == ANSWER
    assert scene.worker.recv(4096)[48:] == protocol.pack_sample(3, 40)


@pytest.mark.parametrize(
    "payload",
    [
        protocol.pack_sampled(ANSWER)[:-1],
        struct.pack("<ddHH", float("nan"), 0.0, 0, 0),
        struct.pack("<ddHH", float("inf"), 0.0, 0, 0),
        struct.pack("<ddHH", -1.0, 0.0, 0, 0),
        bytes(protocol.sampled_bytes(1, "T") + 1),
    ],
    ids=["cut", "nan", "inf", "negative", "oversized"],
)
def test_a_malformed_sample_is_a_protocol_error(scene: Scene, payload: bytes) -> None:
    scene.will_answer(Kind.SAMPLED, payload)
    with pytest.raises(WorkerFailed) as failed:
        sample(scene)
    assert failed.value.verdict.status is Status.PROTOCOL_ERROR
    assert scene.process.killed


def test_a_frozen_worker_is_let_go_by_the_next_request(scene: Scene) -> None:
    scene.will_answer(Kind.DONE)
    scene.link.freeze()
    assert scene.process.frozen
    scene.link.load()
    assert not scene.process.frozen


def test_a_worker_that_will_not_stand_still_is_rejected(scene: Scene) -> None:
    scene.process.rests = False
    with pytest.raises(WorkerFailed) as failed:
        scene.link.freeze()
    assert (failed.value.verdict.status, failed.value.verdict.reason) == (Status.REJECTED, "will_not_rest")
    assert scene.process.killed


def test_news_is_an_answer_or_the_end(scene: Scene) -> None:
    assert not scene.link.has_news()
    scene.will_answer(Kind.DONE)
    assert scene.link.has_news()
    scene.link.load()
    assert not scene.link.has_news()
    scene.worker.close()
    assert scene.link.has_news()


def test_leaving_the_link_ends_the_process(scene: Scene) -> None:
    with scene.link:
        pass
    assert scene.process.killed
