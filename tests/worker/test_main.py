"""From a request to an answer: what is done, and what a candidate's exception is called."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import cpp_extension

from kbench import protocol
from kbench.arena import host_memory
from kbench.assignment import Task, Welcome
from kbench.page import PAGE_BYTES, Page
from kbench.protocol import Failure, Frame, Kind
from kbench.worker.extensions import BuildFailed
from kbench.worker.main import _Worker, serve
from worker.worker_factory import Memory

X = torch.arange(6.0).view(2, 3)
HEAD = "import torch\nfrom torch import nn\n"
GOOD = HEAD + "class ModelNew(nn.Module):\n    def forward(self, x):\n        return x + 1\n"


@pytest.fixture(autouse=True)
def own_extension_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker changes its process; this one must outlive it."""
    monkeypatch.setattr(cpp_extension, "load_inline", cpp_extension.load_inline)
    monkeypatch.setattr(cpp_extension, "load", cpp_extension.load)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory([X], {}, [X])
    yield memory
    memory.close()


class Worker:
    """A worker for one source, asked in order."""

    def __init__(self, folder: Path, source: str, memory: Memory, **task: Any) -> None:
        path = folder / "candidate.py"
        path.write_text(source)
        basis: dict[str, Any] = {
            "role": "candidate", "path": str(path), "shown_path": "add/v1.py", "class_name": "ModelNew",
            "threads": 1, "precision": "fp32", "extensions": str(folder),
        }  # fmt: skip
        self._told = json.dumps(Task(**(basis | task)).to_json()).encode()
        self._worker = _Worker(memory.descriptors, None)
        self._setup = pickle.dumps(memory.setup())
        self._sequence = 0

    def ask(self, kind: Kind) -> tuple[Kind, bytes]:
        self._sequence += 1
        payloads = {Kind.LOAD: self._told, Kind.CONSTRUCT: self._setup, Kind.SAMPLE: protocol.pack_sample(2, 0)}
        return self._worker.answer(Frame(kind=kind, sequence=self._sequence, payload=payloads.get(kind, b"")))

    def failure(self, kind: Kind) -> tuple[Failure, int, str]:
        answered, payload = self.ask(kind)
        assert answered is Kind.FAILED
        return protocol.unpack_failed(payload)


def started(folder: Path, forward: str, memory: Memory) -> Worker:
    """A worker after CONSTRUCT, whose forward is `forward` (on line 5)."""
    source = f"{HEAD}class ModelNew(nn.Module):\n    def forward(self, x):\n        {forward}\n"
    worker = Worker(folder, source, memory)
    assert worker.ask(Kind.LOAD) == worker.ask(Kind.CONSTRUCT) == (Kind.DONE, b"")
    return worker


def test_a_good_candidate_answers_every_request(tmp_path: Path, memory: Memory) -> None:
    worker = Worker(tmp_path, GOOD, memory)
    answers = [worker.ask(kind) for kind in (Kind.LOAD, Kind.CONSTRUCT, Kind.SET_STATE, Kind.SAMPLE, Kind.GET_STATE)]
    done = Kind.DONE
    assert [kind for kind, _ in answers] == [done, done, done, Kind.SAMPLED, done]
    assert protocol.unpack_sampled(answers[3][1]).total_ns > 0
    assert torch.equal(memory.output(), X + 1)
    assert torch.equal(memory.output(call=1), X + 1)


@pytest.mark.parametrize(
    ("source", "failure", "line", "says"),
    [
        ("x = 1\nraise ValueError('no')\n", Failure.LOAD, 2, "ValueError: no"),
        ("def\n", Failure.LOAD, 1, "SyntaxError"),
        ("import sys\nsys.exit(0)\n", Failure.LOAD, 2, "SystemExit"),
        ("raise KeyboardInterrupt\n", Failure.LOAD, 1, "KeyboardInterrupt"),
        ("class Model: pass\n", Failure.LOAD, 0, "defines no ModelNew (classes it does define: Model)"),
        ("", Failure.LOAD, 0, "classes it does define: none"),
        ("import no_such_module_anywhere\n", Failure.LOAD, 1, "No module named"),
        ("raise MemoryError\n", Failure.OUT_OF_MEMORY, 1, "MemoryError"),
        ("raise RecursionError('deep')\n", Failure.LOAD, 1, "deep"),
        ("def f(n):\n    raise OSError(n)\nf(3)\n", Failure.LOAD, 2, "OSError: 3"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why_at_its_line(
    tmp_path: Path, memory: Memory, source: str, failure: Failure, line: int, says: str
) -> None:
    found, at, text = Worker(tmp_path, source, memory).failure(Kind.LOAD)
    assert (found, at) == (failure, line)
    assert says in text
    assert str(tmp_path) not in text


def test_a_compilers_refusal_is_a_build_failure(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BuildFailed("add/v1.py(7): error: no")

    monkeypatch.setattr("kbench.worker.extensions.ExtensionFolder.load_inline", refuse)
    source = "from torch.utils.cpp_extension import load_inline\nload_inline('k', '')\n"
    assert Worker(tmp_path, source, memory).failure(Kind.LOAD) == (Failure.BUILD, 2, "add/v1.py(7): error: no")


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ("def __init__(self): raise ValueError", Failure.CONSTRUCT),
        ("def __init__(self, missing): pass", Failure.CONSTRUCT),
        ("def __new__(cls): return 3", Failure.CONSTRUCT),
        (
            "def __init__(self):\n        super().__init__()\n        self.w = nn.Parameter(torch.ones(1))",
            Failure.PARAMETERS,
        ),
    ],
)
def test_a_module_that_cannot_be_constructed(tmp_path: Path, memory: Memory, body: str, failure: Failure) -> None:
    worker = Worker(tmp_path, f"{HEAD}class ModelNew(nn.Module):\n    {body}\n", memory)
    worker.ask(Kind.LOAD)
    assert worker.failure(Kind.CONSTRUCT)[0] is failure


@pytest.mark.parametrize(
    ("forward", "failure", "says"),
    [
        ("raise ValueError('no')", Failure.RUNTIME, "ValueError: no"),
        ("raise SystemExit(0)", Failure.RUNTIME, "SystemExit"),
        ("return x.view(7)", Failure.RUNTIME, "invalid for input of size 6"),
        ("raise torch.OutOfMemoryError('CUDA out of memory')", Failure.OUT_OF_MEMORY, "out of memory"),
        ("return torch.empty(2**60, dtype=torch.uint8)", Failure.OUT_OF_MEMORY, ""),
        ("raise torch.AcceleratorError('an illegal memory access')", Failure.DEVICE_FAULT, "illegal"),
    ],
)
def test_an_exception_in_forward_is_named_at_its_line(
    tmp_path: Path, memory: Memory, forward: str, failure: Failure, says: str
) -> None:
    found, line, text = started(tmp_path, forward, memory).failure(Kind.SAMPLE)
    assert (found, line) == (failure, 5)
    assert says in text


def test_an_output_that_cannot_be_described_is_a_structure_failure(tmp_path: Path, memory: Memory) -> None:
    worker = started(tmp_path, "return object()", memory)
    assert worker.failure(Kind.SAMPLE) == (Failure.STRUCTURE, 0, "an output holds a object")


def test_an_output_on_another_device_is_a_failure_of_its_own(tmp_path: Path, memory: Memory) -> None:
    worker = started(tmp_path, "return x.to('meta')", memory)
    assert worker.failure(Kind.SAMPLE) == (Failure.OUTPUT_DEVICE, 0, "output 0 lies on meta instead of cpu")


def test_a_failure_is_answered_and_the_next_request_too(tmp_path: Path, memory: Memory) -> None:
    worker = started(tmp_path, "raise ValueError", memory)
    assert worker.failure(Kind.SAMPLE)[0] is Failure.RUNTIME
    assert worker.ask(Kind.GET_STATE) == (Kind.DONE, b"")


@pytest.mark.parametrize("kind", [Kind.SAMPLE, Kind.SET_STATE, Kind.GET_STATE, Kind.DONE])
def test_a_request_out_of_order_is_answered_as_a_failure(tmp_path: Path, memory: Memory, kind: Kind) -> None:
    assert Worker(tmp_path, GOOD, memory).failure(kind)[0] is Failure.RUNTIME


def test_what_is_no_request_is_answered_as_a_failure(tmp_path: Path, memory: Memory) -> None:
    assert "SAMPLED is not a request" in started(tmp_path, "return x", memory).failure(Kind.SAMPLED)[2]


def test_a_line_number_a_candidate_made_up_does_not_end_the_worker(tmp_path: Path, memory: Memory) -> None:
    source = "raise SyntaxError('no', (__file__, 2**40, 0, ''))\n"
    assert Worker(tmp_path, source, memory).failure(Kind.LOAD)[0] is Failure.LOAD


def test_a_long_traceback_keeps_its_end(tmp_path: Path, memory: Memory) -> None:
    worker = Worker(tmp_path, "raise ValueError('a' * 100_000 + '\\nthe end')\n", memory)
    _, _, text = worker.failure(Kind.LOAD)
    assert len(text) < protocol.MAX_TEXT_BYTES and text.rstrip().endswith("the end")


def test_a_reference_runs_with_the_constants_of_its_size(tmp_path: Path, memory: Memory) -> None:
    source = "n = 1\n" + GOOD.replace("ModelNew", "Model").replace("x + 1", "x + n")
    worker = Worker(tmp_path, source, memory, role="reference", class_name="Model", overrides={"n": 5})
    for kind in (Kind.LOAD, Kind.CONSTRUCT, Kind.SAMPLE):
        worker.ask(kind)
    assert torch.equal(memory.output(), X + 5)


def test_one_that_was_released_has_let_go_and_is_told_of_another_file(tmp_path: Path, memory: Memory) -> None:
    source = GOOD.replace("ModelNew", "Model")
    worker = Worker(tmp_path, source, memory, role="reference", class_name="Model")
    assert worker.failure(Kind.RELEASE)[2].rstrip().endswith("RELEASE before CONSTRUCT")
    for kind in (Kind.LOAD, Kind.CONSTRUCT, Kind.SAMPLE):
        worker.ask(kind)
    session = worker._worker._session
    assert session is not None and worker.ask(Kind.RELEASE) == (Kind.DONE, b"")
    assert session._memory == {} and session._module is None
    assert "SAMPLE before CONSTRUCT" in worker.failure(Kind.SAMPLE)[2]
    (tmp_path / "candidate.py").write_text(source.replace("x + 1", "x + 2"))
    answers = [worker.ask(kind)[0] for kind in (Kind.LOAD, Kind.CONSTRUCT, Kind.SAMPLE)]
    assert answers == [Kind.DONE, Kind.DONE, Kind.SAMPLED] and torch.equal(memory.output(), X + 2)


@pytest.mark.parametrize("changes", ["torch.set_default_dtype(torch.float64)", "torch.backends.cudnn.benchmark = True"])
def test_one_whose_file_changed_torchs_settings_says_so_when_it_is_released(
    tmp_path: Path, memory: Memory, changes: str
) -> None:
    source = f"{GOOD.replace('ModelNew', 'Model')}\n{changes}\n"
    worker = Worker(tmp_path, source, memory, role="reference", class_name="Model")
    try:
        answers = [worker.ask(kind)[0] for kind in (Kind.LOAD, Kind.CONSTRUCT, Kind.SET_STATE)]
        assert answers == [Kind.DONE] * 3
        assert "has changed settings of torch" in worker.failure(Kind.RELEASE)[2]
    finally:
        torch.set_default_dtype(torch.float32)
        torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize("fails", [False, True])
def test_the_device_is_woken_before_the_first_request_and_whatever_comes_of_it_is_met_later(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    said: list[str] = []

    def set_device(device: str) -> None:
        said.append(f"woken: {device}")
        if fails:
            raise RuntimeError("no such device")

    def answer(_worker: object, request: Frame) -> tuple[Kind, bytes]:
        said.append(request.kind.name)
        return Kind.DONE, b""

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: said.append("ready"))
    monkeypatch.setattr(_Worker, "answer", answer)
    ours, theirs = socket.socketpair()
    with ours:
        judge = protocol.Channel(ours, bytes(protocol.NONCE_BYTES))
        judge.send(Kind.LOAD, 1, b"")
        ours.shutdown(socket.SHUT_WR)
        welcome = Welcome(nonce="00" * protocol.NONCE_BYTES, device="cuda:0")
        descriptor = host_memory(PAGE_BYTES)
        page = Page(descriptor)
        assert not page.is_awake()
        serve(welcome.to_json(), [theirs.detach(), descriptor])
        assert judge.receive(max_payload=0, timeout_s=5).kind is Kind.DONE
    assert said == ["woken: cuda:0", *([] if fails else ["ready"]), "LOAD"]
    assert page.is_awake()
    os.close(descriptor)
