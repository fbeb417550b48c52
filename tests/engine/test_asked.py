"""When a pair's timing workers are sent for while its questions are asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kbench.engine.pair import _Asked, _walls_into
from kbench.engine.records import Findings
from kbench.model import Status, Verdict


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


def test_the_walls_of_whoever_was_judged_are_known_though_the_pair_ended_by_an_error() -> None:
    findings = Findings(Verdict(status=Status.INFRA_ERROR))
    link: Any = SimpleNamespace(ending=None)
    with pytest.raises(ValueError, match="broken off"), _walls_into(findings) as of:
        of(link)
        link.ending = SimpleNamespace(layers={"network": "on"})
        raise ValueError("broken off")
    assert findings.isolation == {"network": "on"}


def test_those_of_one_that_never_ended_are_not() -> None:
    findings = Findings(Verdict(status=Status.INFRA_ERROR))
    running: Any = SimpleNamespace(ending=None)
    with _walls_into(findings) as of:
        of(running)
    assert findings.isolation == {}
