"""When a pair's timing workers are sent for while its questions are asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kbench.engine.pair import _Asked


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
