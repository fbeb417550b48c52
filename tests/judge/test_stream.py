"""The one kind of call, and what the judge makes of modules that do with it as they like."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from judge.judge_factory import functional, layered
from judge.near_worker import Court, court
from kbench.judge.desk import Refusal
from kbench.layout import view
from kbench.model import Status
from kbench.protocol import Answer

DOUBLE = functional("x * 2", "torch.randn(16, 64)")
LINEAR = layered("self.l = nn.Linear(64, 8)", "self.l(x)", "torch.randn(32, 64)")
NORM = layered("self.bn = nn.BatchNorm1d(8)", "self.bn(x)", "torch.randn(64, 8)")
RUNNING = layered(
    "self.bn = nn.BatchNorm1d(8, momentum=0.9)", "self.bn(x) * 0 + self.bn.running_mean", "torch.randn(64, 8)"
)


def answering(answer: Callable[..., Any]) -> Callable[..., nn.Module]:
    class Answering(nn.Module):
        def forward(self, *args: Any) -> Any:
            return answer(*args)

    return Answering


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Court]:
    with court(tmp_path, DOUBLE) as made:
        yield made


def sets_of(made: Court, count: int) -> list[Any]:
    return [made.reference.draw(seed) for seed in range(count)]


def test_every_call_of_a_sample_answers_its_own_inputs(double: Court) -> None:
    worker, sets = double.hire(answering(lambda x: x * 2)), sets_of(double, 5)
    outputs = double.stream.outputs(double.stream.sample(worker.link, sets))
    assert not isinstance(outputs, Refusal)
    assert [torch.equal(out[0], drawn.tensors[0] * 2) for out, drawn in zip(outputs, sets, strict=True)] == [True] * 5


def test_the_window_holds_the_claim_and_more(double: Court) -> None:
    worker = double.hire(answering(lambda x: x * 2))
    timed = double.stream.sample(worker.link, sets_of(double, 2)).timed
    assert timed.window_ns > timed.claimed_ns > 0 and timed.queued and timed.idle_ns == 0


def test_an_output_that_changes_after_the_glimpse_came_late(double: Court) -> None:
    worker = double.hire(answering(lambda x: torch.zeros_like(x)))
    sets = sets_of(double, 1)
    sampled = double.stream.sample(worker.link, sets)
    memory = double.desk._arenas["outputs"].data
    memory[: 16 * 64 * 4].view(torch.float32).copy_((sets[0].tensors[0] * 2).flatten())
    refusal = double.stream.outputs(sampled)
    assert isinstance(refusal, Refusal) and refusal.reason == "late_output"


def test_an_output_nobody_delivered_is_poison(double: Court) -> None:
    worker = double.hire(answering(lambda x: x * 2))
    double.desk.put_inputs(sets_of(double, 1))
    assert view(double.desk._arenas["outputs"].data, double.desk._output_slots[0]).isnan().all()
    assert worker.samples == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"structure": "(T)"}, "structure"),
        ({"forms": ()}, "structure"),
        ({"shape": (64, 16)}, "shape"),
        ({"shape": ()}, "shape"),
        ({"dtype": "float64"}, "dtype"),
        ({"dtype": "unknown"}, "dtype"),
        ({"strides": (0, 0)}, "structure"),
        ({"strides": (2**60, 1)}, "structure"),
        ({"strides": (128, 2)}, "structure"),
    ],
)
def test_a_form_that_was_not_asked_for_is_refused_before_anything_is_read(
    double: Court, change: dict[str, Any], reason: str
) -> None:
    def lie(answer: Answer) -> Answer:
        fields = {key: value for key, value in change.items() if key in ("shape", "dtype", "strides")}
        forms = tuple(dataclasses.replace(form, **fields) for form in change.get("forms", answer.forms))
        return dataclasses.replace(answer, forms=forms, structure=change.get("structure", answer.structure))

    worker = double.hire(answering(lambda x: x * 2))
    worker.change = lie
    refusal = double.stream.outputs(double.stream.sample(worker.link, sets_of(double, 2)))
    assert isinstance(refusal, Refusal) and refusal.reason == reason


# --- judged in full ---


def _write_behind(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    torch.as_strided(x, (1,), (1,), x.storage_offset() + x.numel()).fill_(1.0)
    return y


def _write_in_front(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    torch.as_strided(x, (1,), (1,), x.storage_offset() - 1).fill_(1.0)
    return y


def _mutate(x: torch.Tensor) -> torch.Tensor:
    return x.mul_(2)


def _flicker() -> Callable[[torch.Tensor], torch.Tensor]:
    count = iter(range(1000))
    return lambda x: x * 2 + (next(count) == 1)


_STATIC = torch.empty(16, 64)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda x: x + x + 1e-4, "values"),
        (lambda x: torch.full_like(x, torch.nan), "nonfinite"),
        (_mutate, "input_mutated"),
        (_write_behind, "out_of_bounds"),
        (_write_in_front, "out_of_bounds"),
        (lambda x: torch.mul(x, 2, out=_STATIC), "output_reused"),
        (_flicker(), "nondeterministic"),
        (lambda x: (x * 2).double(), "dtype"),
        (lambda x: [x * 2], "structure"),
    ],
)
def test_each_fault_has_its_reason(double: Court, answer: Callable[..., Any], reason: str) -> None:
    verdict = double.judge(answering(answer))
    assert (verdict.status, verdict.reason) == (Status.INCORRECT, reason), verdict.message


@pytest.mark.parametrize(
    "answer",
    [lambda x: x * 2, lambda x: x + x, lambda x: (x.t() * 2).t(), lambda x: (x * 2).t().contiguous().t()],
)
def test_honest_answers_in_any_layout_are_correct(double: Court, answer: Callable[..., Any]) -> None:
    assert double.judge(answering(answer)).status is Status.CORRECT


def test_weights_cached_on_the_first_call_are_found_out(tmp_path: Path) -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(64, 8)
            self.kept: Any = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight, bias = self.l.weight.detach(), self.l.bias.detach()
            if self.kept is None or (self.follows and self.kept[0] != self.l.weight._version):
                self.kept = self.l.weight._version, weight.t().contiguous(), bias.clone()
            return x @ self.kept[1] + self.kept[2]  # type: ignore[no-any-return]

        follows = False

    class Following(Caching):
        follows = True

    with court(tmp_path, LINEAR) as made:
        assert made.judge(Caching).reason == "values"
        assert made.judge(Following).status is Status.CORRECT


def test_running_statistics_are_outputs_too(tmp_path: Path) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.batch_norm(x, None, None, self.bn.weight, self.bn.bias, training=True)

    class Honest(Forgetful):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(x)  # type: ignore[no-any-return]

    with court(tmp_path, NORM) as made:
        assert made.judge(Forgetful).reason == "buffers"
        assert made.judge(Honest).status is Status.CORRECT


def test_a_second_call_in_a_row_finds_the_state_that_the_first_left(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(8, momentum=0.9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(x) * 0 + self.bn.running_mean  # type: ignore[no-any-return]

    with court(tmp_path, RUNNING) as made:
        assert made.judge(Model).status is Status.CORRECT
