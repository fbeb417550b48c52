"""When the workers of one replicate go and those of the next come, without any process."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from kbench.machine.telemetry import NoGauge
from kbench.measure import crew as crew_module
from kbench.measure import live
from kbench.measure.crew import Crew, SideSpec
from kbench.measure.live import LiveBackend
from kbench.measure.window import SOLUTION
from kbench.model import Status, Verdict
from kbench.remote.hire import Post
from kbench.remote.link import WorkerFailed
from kbench.remote.spares import Spares


class _Link:
    """A worker that takes its time to go where `until` is given."""

    def __init__(self, said: list[str], name: str, until: threading.Event | None) -> None:
        self._said, self._name, self._until = said, name, until
        self.loaded = self.constructed = False

    def load(self) -> None:
        self._said.append(f"{self._name} loads")

    def construct(self, _setup: object) -> None:
        """Nothing is made."""

    def set_state(self) -> None:
        self._said.append(f"{self._name} is ready")
        if self._name == "2nd" and self._until is not None:
            self._until.set()

    def close(self) -> None:
        if self._name == "1st" and self._until is not None:
            assert self._until.wait(20), "the next one did not come meanwhile"
        self._said.append(f"{self._name} is gone")

    def __enter__(self) -> _Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bench(
    monkeypatch: pytest.MonkeyPatch, said: list[str], until: threading.Event | None, *sides: str
) -> tuple[Crew, LiveBackend]:
    names = iter(["1st", "2nd", "3rd"])
    spares: Any = SimpleNamespace(hire=lambda *_args, **_kwargs: _Link(said, next(names), until), keeps=lambda _: False,
                                  hurried=False, await_awake=lambda: None)  # fmt: skip
    monkeypatch.setattr(crew_module, "has_room", lambda _: until is not None)
    question = SimpleNamespace(case=SimpleNamespace(state={}))
    monkeypatch.setattr(live, "Checks", lambda *_args, **_kwargs: SimpleNamespace(question=question))
    desk = SimpleNamespace(setup=lambda **_: None, put_state=lambda _state: None)
    reference = SimpleNamespace(device=torch.device("cpu"), problem=SimpleNamespace(mode=None))
    bench: Any = SimpleNamespace(
        desk=desk, reference=reference, question=question, stream=None, seeds=None, history=False
    )
    post = Post(source="", shown_path="", role="candidate", precision="fp32", log=Path("log"))
    specs = [SideSpec(name=side, post=post) for side in sides]
    crew = Crew(specs, spares=cast(Spares, spares), descriptors=[], device=reference.device)
    return crew, LiveBackend(bench, crew, NoGauge())


def test_where_there_is_room_the_next_gets_ready_while_the_last_goes_who_is_gone_when_evidence_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    crew, backend = _bench(monkeypatch, said, threading.Event(), SOLUTION)
    with crew:
        with backend.staffed([SOLUTION]):
            pass
        with backend.staffed([SOLUTION]) as sides:
            backend.follow(sides, samples=1, calls=1)
            assert said == ["1st loads", "1st is ready", "2nd loads", "2nd is ready", "1st is gone"]
    assert said[-1] == "2nd is gone"


def test_elsewhere_it_waits_until_the_last_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    crew, backend = _bench(monkeypatch, said, None, SOLUTION)
    with crew:
        for _ in range(2):
            with backend.staffed([SOLUTION]):
                pass
    assert said == [f"{name} {does}" for name in ("1st", "2nd") for does in ("loads", "is ready", "is gone")]


def test_where_one_fails_to_construct_none_is_closed_while_another_still_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    crew, backend = _bench(monkeypatch, said, None, SOLUTION, "eager")
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
    with pytest.raises(WorkerFailed), crew, backend.staffed([SOLUTION, "eager"]):
        pass
    assert said[0] == "2nd loads" and sorted(said[1:]) == ["1st is gone", "2nd is gone"]


def test_all_are_gone_where_a_replicate_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    crew, backend = _bench(monkeypatch, said, threading.Event(), SOLUTION)
    with pytest.raises(ValueError, match="broken off"), crew:
        with backend.staffed([SOLUTION]):
            pass
        with backend.staffed([SOLUTION]):
            raise ValueError("broken off")
    assert {"1st is gone", "2nd is gone"} <= set(said)
