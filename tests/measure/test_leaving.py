"""When the workers of one replicate go and those of the next come, without any process."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kbench.errors import InfraError
from kbench.machine.telemetry import NoGauge
from kbench.measure import crew
from kbench.measure.crew import Crew, SideSpec
from kbench.measure.live import LiveBackend
from kbench.measure.window import SOLUTION
from kbench.model import Status, Verdict
from kbench.remote.hire import Post
from kbench.remote.link import WorkerFailed


class _Link:
    """A worker that takes its time to go where `until` is given."""

    def __init__(self, said: list[str], name: str, until: threading.Event | None) -> None:
        self._said, self._name, self._until = said, name, until

    def load(self) -> None:
        self._said.append(f"{self._name} loads")

    def construct(self, _setup: object) -> None:
        if self._name == "2nd" and self._until is not None:
            self._until.set()

    def set_state(self) -> None:
        self._said.append(f"{self._name} is ready")

    def close(self) -> None:
        if self._name == "1st" and self._until is not None and not self._until.wait(20):
            raise InfraError("the next one did not come meanwhile")
        self._said.append(f"{self._name} is gone")

    def __enter__(self) -> _Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _backend(
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    until: threading.Event | None,
    *,
    sides: tuple[str, ...] = (SOLUTION,),
) -> LiveBackend:
    names = iter(["1st", "2nd", "3rd"])
    monkeypatch.setattr(crew, "hire", lambda *_args, **_kwargs: _Link(said, next(names), until))
    monkeypatch.setattr(Crew, "has_room", until is not None)
    desk = SimpleNamespace(descriptors=[], setup=lambda **_: None, put_state=lambda _state: None)
    reference = SimpleNamespace(device=torch.device("cpu"), problem=SimpleNamespace(mode=None))
    question = SimpleNamespace(case=SimpleNamespace(state={}))
    bench: Any = SimpleNamespace(desk=desk, reference=reference, question=question)
    post = Post(source="", shown_path="", role="candidate", precision="fp32", log=Path("log"))
    specs = [SideSpec(name=side, post=post) for side in sides]
    hiring: Any = None
    return LiveBackend(bench, Crew(specs, hiring=hiring, descriptors=[], device=reference.device), NoGauge())


def test_where_there_is_room_the_next_comes_while_the_last_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with _backend(monkeypatch, said, threading.Event()) as backend:
        with backend.staffed([SOLUTION]):
            pass
        with backend.staffed([SOLUTION]):
            assert said == ["1st loads", "1st is ready", "2nd loads", "1st is gone", "2nd is ready"]
    assert said[-1] == "2nd is gone"


def test_elsewhere_it_waits_until_the_last_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with _backend(monkeypatch, said, None) as backend:
        for _ in range(2):
            with backend.staffed([SOLUTION]):
                pass
    assert said == [f"{name} {does}" for name in ("1st", "2nd") for does in ("loads", "is ready", "is gone")]


def test_whoever_is_next_is_expected_before_the_sides_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    backend = _backend(monkeypatch, said, None)
    monkeypatch.setattr(backend._crew, "expect", lambda names: said.append(f"{names} expected"))
    with backend:
        with backend.staffed([SOLUTION], then=["eager", SOLUTION]):
            assert said == ["1st loads", "1st is ready", "['eager', 'solution'] expected"]
        with backend.staffed([SOLUTION]):
            assert said.count("['eager', 'solution'] expected") == 1


def test_a_worker_that_will_not_go_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = _backend(monkeypatch, [], None)
    monkeypatch.setattr(_Link, "close", lambda _self: (_ for _ in ()).throw(InfraError("it stays")))
    with pytest.raises(InfraError, match="it stays"), backend, backend.staffed([SOLUTION]):
        pass


def test_where_one_fails_to_construct_none_is_closed_while_another_still_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    backend = _backend(monkeypatch, said, None, sides=(SOLUTION, "eager"))
    begun, closing = threading.Event(), threading.Event()

    def load(link: _Link) -> None:
        if link._name == "1st":
            assert begun.wait(20)
            raise WorkerFailed(Verdict(status=Status.LOAD_ERROR))
        begun.set()
        closing.wait(0.1)  # a close that did not wait for us would come now
        said.append("2nd loads")

    def close(link: _Link) -> None:
        closing.set()
        said.append(f"{link._name} is gone")

    monkeypatch.setattr(_Link, "load", load)
    monkeypatch.setattr(_Link, "close", close)
    with pytest.raises(WorkerFailed), backend, backend.staffed([SOLUTION, "eager"]):
        pass
    assert said[0] == "2nd loads" and sorted(said[1:]) == ["1st is gone", "2nd is gone"]


def test_all_are_gone_where_a_replicate_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    backend = _backend(monkeypatch, said, threading.Event())
    with pytest.raises(ValueError, match="broken off"), backend:
        with backend.staffed([SOLUTION]):
            pass
        with backend.staffed([SOLUTION]):
            raise ValueError("broken off")
    assert {"1st is gone", "2nd is gone"} <= set(said)
