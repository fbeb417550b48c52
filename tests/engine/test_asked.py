"""When a pair's timing workers are sent for while its questions are asked."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from kbench.engine import pair
from kbench.engine.pair import _Asked
from kbench.engine.records import Findings
from kbench.measure.crew import Crew
from kbench.model import Device, Status, Verdict


def question(name: str, *, decidable: bool = True) -> Any:
    return SimpleNamespace(case=SimpleNamespace(name=name), expected=SimpleNamespace(decidable=decidable))


def test_it_is_told_once_that_the_first_was_right_and_not_before() -> None:
    questions = [question("as_given"), question("recentred"), question("randomised_parameters")]
    told: list[str] = []
    asked = _Asked(questions[0], questions, once_right=lambda: told.append("right"))
    ask = iter(asked)
    next(ask)
    assert told == []  # whoever fails the first is never asked another
    next(ask)
    assert told == ["right"]
    assert asked.timed is questions[0]
    assert list(ask) == questions[2:] and told == ["right"]
    assert asked.timed is questions[2]


def test_the_walls_of_whoever_was_judged_are_known_though_the_pair_ended_by_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    findings = Findings(Verdict(status=Status.INFRA_ERROR))
    link: Any = SimpleNamespace(ending=None, layers={"network": "on"})
    exam = SimpleNamespace(
        reference=None, first=lambda: SimpleNamespace(case=None, expected=SimpleNamespace(decidable=True)),
        questions=lambda: (),
    )  # fmt: skip

    def end(*_: object, **__: object) -> None:
        link.ending = link

    monkeypatch.setattr(pair, "Desk", lambda *_: contextlib.nullcontext(SimpleNamespace(descriptors=())))
    monkeypatch.setattr(Crew, "hire_to_judge", lambda *_: link)
    monkeypatch.setattr(Crew, "__exit__", end)
    monkeypatch.setattr(pair, "Stream", lambda *_: None)
    monkeypatch.setattr(pair, "_candidate", lambda *_: None)
    monkeypatch.setattr(pair, "_judge", lambda *_: (_ for _ in ()).throw(ValueError("broken off")))
    settings: Any = SimpleNamespace(
        stage=lambda *_: None, exams=SimpleNamespace(exam=lambda *_, **__: exam), baselines=(), spares=None, seeds=None
    )
    job: Any = SimpleNamespace(device=Device.CPU, problem=None, size="full", solution=SimpleNamespace(id="p/s"))
    build: Any = None
    with pytest.raises(ValueError, match="broken off"):
        pair._examine(job, build, settings, findings)
    assert findings.isolation == {"network": "on"}
