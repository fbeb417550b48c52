"""A pair that lacked memory is tried again, once, without those who wait on the device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kbench.arena import NoDeviceMemory
from kbench.engine import pair
from kbench.engine.records import Findings
from kbench.errors import InfraError
from kbench.measure.live import BaselineFailed
from kbench.model import Status, Verdict
from kbench.remote.link import WorkerFailed

RIGHT = Verdict(status=Status.CORRECT)
NO_MEMORY = Verdict(status=Status.OUT_OF_MEMORY, reason="allocation")
HOST_MEMORY = Verdict(status=Status.OUT_OF_MEMORY, reason="memory_limit")


class Spares:
    """Says whether anybody was there to be dismissed, and when they were barred."""

    def __init__(self, *, waiting: bool) -> None:
        self._waiting = waiting
        self.said: list[str] = []

    def dismiss(self) -> bool:
        self.said.append("dismissed")
        return self._waiting

    @contextlib.contextmanager
    def barred(self) -> Iterator[None]:
        self.said.append("barred")
        yield
        self.said.append("let in")


Try = Callable[[Findings], None]


def gives(verdict: Verdict, *, lacked: bool = False, sampled: bool = False) -> Try:
    def attempt(findings: Findings) -> None:
        findings.verdict, findings.lacked_memory, findings.sampled = verdict, lacked, sampled

    return attempt


def fails(error: Exception, *, sampled: bool = False) -> Try:
    def attempt(findings: Findings) -> None:
        findings.sampled = sampled
        raise error

    return attempt


def judged(monkeypatch: pytest.MonkeyPatch, tries: list[Try], *, waiting: bool = True) -> tuple[Verdict, Spares]:
    """The verdict in the end. The last try must have been needed."""
    spares = Spares(waiting=waiting)
    settings: Any = SimpleNamespace(
        spares=spares, environment_key="", sanitize=False, exams=SimpleNamespace(forget=lambda: None)
    )

    def examine(_job: object, _build: object, _settings: object, findings: Findings) -> None:
        spares.said.append("tried")
        tries.pop(0)(findings)

    monkeypatch.setattr(pair, "_examine", examine)
    monkeypatch.setattr(pair, "make_record", lambda _job, _build, verdict, _key, **_: verdict)
    job: Any = None
    build: Any = None
    verdict: Any = pair.run_pair(job, build, settings)[0]
    assert not tries
    return verdict, spares


@pytest.mark.parametrize(
    "lacking",
    [
        gives(NO_MEMORY, lacked=True),
        fails(BaselineFailed("eager", NO_MEMORY)),
        fails(NoDeviceMemory("cuMemAlloc_v2 failed")),
        fails(torch.OutOfMemoryError("CUDA out of memory")),
    ],
)
def test_where_somebody_waited_it_is_tried_again_alone(monkeypatch: pytest.MonkeyPatch, lacking: Try) -> None:
    verdict, spares = judged(monkeypatch, [lacking, gives(RIGHT)])
    assert verdict is RIGHT
    assert spares.said == ["tried", "dismissed", "barred", "tried", "let in"]


def test_once(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, _ = judged(monkeypatch, [gives(NO_MEMORY, lacked=True)] * 2)
    assert verdict is NO_MEMORY


def test_where_nobody_did_the_first_verdict_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, spares = judged(monkeypatch, [gives(NO_MEMORY, lacked=True)], waiting=False)
    assert verdict is NO_MEMORY and spares.said == ["tried", "dismissed"]


@pytest.mark.parametrize(
    "final",
    [
        gives(RIGHT), gives(Verdict(status=Status.CRASH)), gives(HOST_MEMORY),
        fails(BaselineFailed("eager", Verdict(status=Status.CRASH))),
        gives(NO_MEMORY, lacked=True, sampled=True), fails(BaselineFailed("eager", NO_MEMORY), sampled=True),
        fails(torch.OutOfMemoryError("CUDA out of memory"), sampled=True), fails(InfraError("no worker")),
    ],
)  # fmt: skip
def test_nothing_else_is_tried_again_nor_what_failed_when_samples_had_been_taken(
    monkeypatch: pytest.MonkeyPatch, final: Try
) -> None:
    _, spares = judged(monkeypatch, [final])
    assert spares.said == ["tried"]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    "failure", [WorkerFailed(NO_MEMORY), WorkerFailed(HOST_MEMORY), BaselineFailed("eager", NO_MEMORY)]
)
def test_whoever_fails_while_samples_are_taken_it_is_known_that_they_were(
    monkeypatch: pytest.MonkeyPatch, begun: bool, failure: Exception
) -> None:
    def take_samples(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(pair, "take_samples", take_samples)
    monkeypatch.setattr(pair, "_budget", lambda *_: None)
    monkeypatch.setattr(pair, "LiveBackend", lambda *_: SimpleNamespace(begun=begun))
    bench: Any = SimpleNamespace(desk=None, reference=SimpleNamespace(device=None))
    settings: Any = SimpleNamespace(gauge=None, effort=None)
    job: Any = SimpleNamespace(device=None)
    crew: Any = SimpleNamespace(specs={})
    exam: Any = None
    findings = Findings(RIGHT)
    with contextlib.suppress(BaselineFailed):
        pair._measure(job, settings, bench, crew, exam, findings)
    assert findings.sampled == begun
    if isinstance(failure, WorkerFailed):
        assert findings.verdict is failure.verdict
        assert findings.lacked_memory == (failure.verdict is NO_MEMORY)
