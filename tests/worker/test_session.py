"""A constructed module and its calls, in this process on host memory."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from kbench.layout import view
from kbench.protocol import OutputForm
from kbench.worker.session import Session, StructureError, WrongDevice
from kbench.worker.state import ParameterMismatch
from worker.worker_factory import Memory

X = torch.arange(6.0).view(2, 3)


def answering(answer: Callable[..., Any]) -> type[nn.Module]:
    class Answering(nn.Module):
        def forward(self, *args: Any) -> Any:
            return answer(*args)

    return Answering


@contextlib.contextmanager
def session(
    module: Any, *, inputs: Sequence[Any] = (X,), outputs: Sequence[torch.Tensor] = (X,), **setup: Any
) -> Iterator[tuple[Session, Memory]]:
    state = setup.pop("state", {})
    memory = Memory(inputs, state, outputs)
    yield Session.construct(module, memory.setup(**setup), memory.descriptors), memory
    memory.close()


def answer_of(answer: Callable[..., Any], **scene: Any) -> tuple[str, tuple[OutputForm, ...]]:
    with session(answering(answer), **scene) as (made, _):
        said = made.sample(1, 0)
        return said.structure, said.forms


def test_a_call_reads_its_inputs_and_lays_its_output_into_shared_memory() -> None:
    with session(answering(lambda x: x * 2)) as (made, memory):
        said = made.sample(1, 0)
        assert (said.structure, said.forms) == ("T", (OutputForm(dtype="float32", shape=(2, 3), strides=(3, 1)),))
        assert said.total_ns >= said.enqueue_ns > 0
        assert torch.equal(memory.output(), X * 2)


def test_calls_in_a_row_have_inputs_and_outputs_of_their_own() -> None:
    with session(answering(lambda x: x * 2)) as (made, memory):
        for call in range(3):
            memory.input(call=call).fill_(call)
        made.sample(3, 0)
        assert [float(memory.output(call=call)[0, 0]) for call in range(3)] == [0.0, 2.0, 4.0]


def test_a_module_that_returns_the_same_memory_twice_shows_it() -> None:
    static = torch.zeros(2, 3)
    with session(answering(lambda x: static.copy_(x))) as (made, memory):
        memory.input(call=1).fill_(7)
        made.sample(2, 0)
        assert torch.equal(memory.output(call=0), memory.output(call=1))


def test_new_values_at_the_same_place_are_seen_by_the_next_sample() -> None:
    with session(answering(lambda x: x * 2)) as (made, memory):
        made.sample(1, 0)
        memory.input().fill_(5)
        made.sample(1, 0)
        assert torch.equal(memory.output(), torch.full((2, 3), 10.0))


def test_calls_of_one_sample_that_differ_in_form_are_a_structure_error() -> None:
    shapes = iter([X, X[0]])
    module = answering(lambda _: next(shapes))
    with session(module) as (made, _), pytest.raises(StructureError, match="call 2 in a row"):
        made.sample(2, 0)


def test_blocks_as_large_as_the_outputs_are_left_full_of_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether malloc gives just these to the next forward is its own affair; where it does, they are no number."""
    kept: list[torch.Tensor] = []
    empty = torch.empty

    def kept_empty(*args: Any, **more: Any) -> torch.Tensor:
        kept.append(empty(*args, **more))
        return kept[-1]

    with session(answering(lambda x: (x, x[0])), outputs=(X, X[0])) as (made, _):
        made.sample(1, 0)
        with monkeypatch.context() as patched:
            patched.setattr(torch, "empty", kept_empty)
            made.prepare(3)
    assert sorted(block.nbytes for block in kept) == [12] * 3 + [24] * 3
    assert all(block.view(torch.float32).isnan().all() for block in kept)


@pytest.mark.parametrize(
    ("value", "structure", "shapes"),
    [
        ((X, X[0]), "(T,T)", [(2, 3), (3,)]),
        ([X], "[T]", [(2, 3)]),
        ({"a": X, "b": None}, "{a:T,b:None}", [(2, 3)]),
        (None, "None", []),
        (3, "N", [()]),
        ((X, 2.5), "(T,N)", [(2, 3), ()]),
        ((), "()", []),
    ],
)
def test_whatever_is_returned_is_described(value: Any, structure: str, shapes: list[tuple[int, ...]]) -> None:
    said, forms = answer_of(lambda _: value)
    assert (said, [form.shape for form in forms]) == (structure, shapes)


@pytest.mark.parametrize("value", [object(), "text", (X, {1})])
def test_what_is_no_tensor_and_no_number_is_a_structure_error(value: Any) -> None:
    with pytest.raises(StructureError, match="an output holds a"):
        answer_of(lambda _: value)


def test_an_output_that_holds_itself_is_a_structure_error() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(StructureError, match="holds itself"):
        answer_of(lambda _: ring)


def test_an_output_too_large_for_its_place_is_described_and_not_written() -> None:
    with session(answering(lambda _: torch.ones(1000))) as (made, memory):
        assert made.sample(1, 0).forms[0].shape == (1000,)
        assert not memory.arenas["outputs"].data.any()


@pytest.mark.parametrize(
    "value",
    [
        X.t(),
        X.expand(4, 2, 3).transpose(0, 2),
        X[:, ::2],
        torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    ],
)
def test_whatever_layout_an_output_has_its_elements_arrive(value: torch.Tensor) -> None:
    with session(answering(lambda _: value), outputs=[value.contiguous()]) as (made, memory):
        form = made.sample(1, 0).forms[0]
        slot = dataclasses.replace(memory.output_slots[0], strides=form.strides)
        assert form.shape == tuple(value.shape)
        assert torch.equal(view(memory.arenas["outputs"].data, slot), value)


def test_an_output_that_is_its_input_is_copied() -> None:
    with session(answering(lambda x: x)) as (made, memory):
        made.sample(1, 0)
        memory.input().fill_(-1)
        assert torch.equal(memory.output(), X)


def test_an_output_elsewhere_or_sparse_is_refused() -> None:
    elsewhere = answering(lambda _: torch.empty(2, device="meta"))
    with session(elsewhere) as (made, _), pytest.raises(WrongDevice, match="meta"):
        made.sample(1, 0)
    with session(answering(lambda x: x.to_sparse())) as (made, _), pytest.raises(StructureError, match="sparse"):
        made.sample(1, 0)


def test_inputs_keep_their_structure_and_their_plain_values() -> None:
    seen: list[Any] = []

    def answer(x: torch.Tensor, more: Any, factor: float) -> torch.Tensor:
        seen.append((x.shape, more["pair"][1].shape, factor))
        return x

    answer_of(answer, inputs=(X, {"pair": (X, X[0])}, 0.5))
    assert seen == [((2, 3), (3,), 0.5)]


def test_none_is_an_answer_like_any_other() -> None:
    assert answer_of(lambda _: None)[0] == "None"


def test_samples_run_without_gradients() -> None:
    modes: list[bool] = []

    def answer(x: torch.Tensor) -> torch.Tensor:
        modes.append(torch.is_grad_enabled())
        return x

    with session(answering(answer)) as (made, _):
        made.sample(2, 0)
    assert modes == [False, False]


def test_state_goes_in_and_comes_out() -> None:
    state = {"weight": torch.full((3, 3), 2.0), "bias": torch.ones(3)}
    with session(nn.Linear, init_inputs=[3, 3], state=state) as (made, memory):
        made.set_state()
        made.sample(1, 0)
        assert torch.equal(memory.output(), nn.functional.linear(X, state["weight"], state["bias"]))
        made.get_state()
        assert torch.equal(memory.arenas["state_out"].data, memory.arenas["state"].data)


@pytest.mark.parametrize(("mode", "training"), [("train", True), ("eval", False), (None, True)])
def test_the_mode_is_as_told_or_as_constructed(mode: str | None, training: bool) -> None:
    modes: list[bool] = []

    class Watching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            return x

    with session(Watching, mode=mode) as (made, _):
        made.sample(1, 0)
    assert modes == [training]


def test_parameters_are_cast_before_their_names_are_compared() -> None:
    state = {"weight": torch.ones(1, 3, dtype=torch.bfloat16)}
    inputs = (X.bfloat16(),)
    with session(
        lambda: nn.Linear(3, 1, bias=False), inputs=inputs, state=state, dtype="bfloat16", outputs=[torch.zeros(2, 1)]
    ) as (made, _):
        assert made.sample(1, 0).forms[0].dtype == "bfloat16"


def test_other_parameters_than_the_references_are_refused() -> None:
    with pytest.raises(ParameterMismatch, match="missing scale"), session(nn.Identity, state={"scale": X}):
        pass


@pytest.mark.parametrize("made", [lambda: 3, lambda: X, dict])
def test_what_is_no_module_is_refused(made: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"not a torch\.nn\.Module"), session(made):
        pass
