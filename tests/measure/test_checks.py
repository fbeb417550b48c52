"""Timed calls that are verified, and parameters that change in the middle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from judge.judge_factory import functional, layered
from judge.near_worker import Court, court
from torch import nn

from kbench.judge.clock import Sampled
from kbench.judge.judging import Question
from kbench.judge.reference import Drawn
from kbench.measure.checks import Checks, TimedOutputWrong
from kbench.remote.link import WorkerLink

DOUBLE = functional("x * 2", "torch.randn(8, 16)")
LINEAR = layered("self.l = nn.Linear(16, 8)", "self.l(x)", "torch.randn(4, 16)")


@dataclasses.dataclass
class Side:
    """A timed side in this process."""

    made: Court
    link: WorkerLink
    drawn: list[Drawn] = dataclasses.field(default_factory=list)
    seeds: list[int] = dataclasses.field(default_factory=list)
    last: Sampled | None = None
    states_set: int = 0

    def sample(self, calls: int) -> None:
        self.seeds = [self.made.seeds.next() for _ in range(calls)]
        self.drawn = [self.made.reference.draw(seed) for seed in self.seeds]
        self.last = self.made.stream.sample(self.link, self.drawn)

    def set_state(self) -> None:
        self.link.set_state()
        self.states_set += 1


def timed(made: Court, module: Callable[..., nn.Module], *, samples: int, calls: int) -> tuple[Checks, Side, Question]:
    question = next(q for q in made.questions() if q.case.name == "randomised_parameters")
    side = Side(made, made.hire(module).link)
    made.desk.put_state(question.case.state)
    side.link.set_state()
    checks = Checks(
        made.reference, made.stream, made.seeds, question, samples=samples, calls=calls, sides=[side], history=False
    )
    for number in range(samples):
        side.sample(calls)
        checks.after(side, number)
    return checks, side, question


class Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


@pytest.mark.parametrize(("samples", "calls"), [(40, 1), (200, 1), (4, 1), (12, 7), (3, 100)])
def test_a_twentieth_of_the_calls_and_five_at_least_are_verified(tmp_path: Path, samples: int, calls: int) -> None:
    with court(tmp_path, DOUBLE) as made:
        checks, *_ = timed(made, Double, samples=samples, calls=calls)
    assert checks.done >= min(samples * calls, max(5, 0.05 * samples * calls))


def test_parameters_change_once_for_every_side(tmp_path: Path) -> None:
    class Honest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(16, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.l(x)  # type: ignore[no-any-return]

    with court(tmp_path, LINEAR) as made:
        checks, side, before = timed(made, Honest, samples=10, calls=2)
    assert side.states_set == 1
    assert not torch.equal(before.case.state["l.weight"], checks.question.case.state["l.weight"])


def cheating(answer: Callable[[int, torch.Tensor], Any]) -> Callable[..., nn.Module]:
    """A module that knows which call it is."""

    class Cheat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def forward(self, x: torch.Tensor) -> Any:
            self.count += 1
            return answer(self.count, x)

    return Cheat


_memo: dict[int, torch.Tensor] = {}


@pytest.mark.parametrize(
    "answer",
    [
        lambda count, x: x * 2 if count <= 3 else x,
        lambda _, x: _memo.setdefault(x.data_ptr(), x * 2),
        lambda count, x: x * 2 if count % 10 == 0 else torch.zeros_like(x),
    ],
    ids=["exact on the first calls", "memo by address", "skips nine of ten"],
)
def test_a_cheat_among_timed_calls_is_found_out(tmp_path: Path, answer: Callable[[int, torch.Tensor], Any]) -> None:
    _memo.clear()
    with court(tmp_path, DOUBLE) as made, pytest.raises(TimedOutputWrong) as wrong:
        timed(made, cheating(answer), samples=40, calls=4)
    assert wrong.value.verdict.reason == "timed_output"


def test_weights_kept_from_the_beginning_are_found_out(tmp_path: Path) -> None:
    class Stale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(16, 8)
            self.kept: Any = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.kept is None:
                self.kept = self.l.weight.detach().clone(), self.l.bias.detach().clone()
            return nn.functional.linear(x, *self.kept)

    with court(tmp_path, LINEAR) as made, pytest.raises(TimedOutputWrong):
        timed(made, Stale, samples=10, calls=1)
