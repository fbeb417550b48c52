"""Tensors in a flat arena, and values taken apart around them."""

from __future__ import annotations

import collections
import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kbench.layout import (
    ALIGNMENT,
    Leaf,
    TensorSlot,
    dtype_name,
    flatten_output,
    lay_out,
    put_together,
    take_apart,
    view,
)

Point = collections.namedtuple("Point", "x y")
SHAPES = st.lists(st.integers(0, 5), max_size=4)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int8, torch.bool])


def arena(size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.uint8)


@given(forms=st.lists(st.tuples(SHAPES, DTYPES), max_size=5))
@settings(deadline=None)
def test_places_are_aligned_do_not_overlap_and_fit(forms: list[tuple[list[int], torch.dtype]]) -> None:
    slots, size = lay_out(torch.zeros(shape, dtype=dtype) for shape, dtype in forms)
    ends = [0, *(slot.offset + slot.span for slot in slots)]
    assert size >= max(ends) and size >= ALIGNMENT
    for slot, before, (shape, dtype) in zip(slots, ends, forms, strict=False):
        assert slot.offset % ALIGNMENT == 0 and slot.offset >= before
        assert (slot.shape, slot.torch_dtype) == (tuple(shape), dtype)
    assert len({slot.offset for slot in slots}) == len(slots)


@given(forms=st.lists(st.tuples(SHAPES, DTYPES), max_size=5), seed=st.integers(0, 2**32))
@settings(deadline=None)
def test_what_is_written_through_a_view_is_read_through_another(
    forms: list[tuple[list[int], torch.dtype]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randint(0, 2, shape, generator=generator).to(dtype) for shape, dtype in forms]
    slots, size = lay_out(tensors)
    memory = arena(size)
    for tensor, slot in zip(tensors, slots, strict=True):
        view(memory, slot).copy_(tensor)
    for tensor, slot in zip(tensors, slots, strict=True):
        assert torch.equal(view(memory, slot), tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1),
        torch.arange(120.0).view(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.arange(6.0).view(2, 3).t(),
        torch.arange(4.0).view(4, 1)[:, :1],
    ],
)
def test_a_dense_tensor_keeps_its_order_of_dimensions(tensor: torch.Tensor) -> None:
    (slot,), size = lay_out([tensor])
    placed = view(arena(size), slot)
    assert placed.stride() == tensor.stride()
    assert slot.span == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize(
    "tensor", [torch.zeros(1, 3).expand(4, 3), torch.zeros(8, 8)[:, ::2], torch.zeros(3, 0, 2), torch.zeros(6)[::3]]
)
def test_holes_and_overlaps_are_laid_out_contiguously(tensor: torch.Tensor) -> None:
    (slot,), size = lay_out([tensor])
    assert view(arena(size), slot).is_contiguous()


def test_a_view_reaches_no_byte_outside_its_slot() -> None:
    slots, size = lay_out([torch.zeros(3), torch.zeros(5), torch.zeros(2)])
    memory = arena(size)
    view(memory, slots[1]).view(torch.uint8).fill_(0xFF)
    assert int(memory.count_nonzero()) == slots[1].span
    assert bool(memory[slots[1].offset : slots[1].offset + slots[1].span].all())


def test_a_slot_beyond_its_arena_is_refused() -> None:
    slot = TensorSlot("float32", (8,), (1,), 256, 32)
    with pytest.raises(RuntimeError):
        view(arena(256), slot)


def test_dtype_names_are_torchs_own_without_the_module() -> None:
    assert dtype_name(torch.bfloat16) == "bfloat16"


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2),
        (torch.ones(1), [torch.zeros(2), 3], {"a": torch.ones(3), "b": None}),
        Point(torch.ones(1), 2),
        [],
        {"deep": [({"er": torch.ones(1)},)]},
        "text",
    ],
)
def test_put_together_is_the_inverse_of_take_apart(value: Any) -> None:
    template, tensors = take_apart(value)
    assert not _holds_tensor(template)
    again = put_together(template, tensors)
    assert type(again) is type(value)
    assert repr(again) == repr(value)


def test_nothing_keeps_tensors_that_were_taken_apart() -> None:
    """Gigabytes of inputs, drawn for every sample: they must not wait for the garbage collector."""
    gc.disable()
    try:
        tensor = torch.ones(1)
        last_seen = weakref.ref(tensor)
        template, tensors = take_apart([tensor])
        again = put_together(template, tensors)
        del tensor, tensors, again
        assert last_seen() is None
    finally:
        gc.enable()


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensor, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensor, value))
    return isinstance(value, torch.Tensor)


def test_tensors_are_taken_in_reading_order() -> None:
    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    template, tensors = take_apart([a, {"k": b}, (c,)])
    assert template == [Leaf(0), {"k": Leaf(1)}, (Leaf(2),)]
    assert [t.numel() for t in tensors] == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "structure", "count"),
    [
        (torch.ones(2), "T", 1),
        ((torch.ones(1), torch.ones(2)), "(T,T)", 2),
        ([torch.ones(1)], "[T]", 1),
        ((torch.ones(1), None), "(T,None)", 1),
        ({"a": torch.ones(1), "b": (torch.ones(1), 2)}, "{a:T,b:(T,N)}", 3),
        (Point(torch.ones(1), torch.ones(1)), "(T,T)", 2),
        (3, "N", 1),
        (True, "N", 1),
        (2.5, "N", 1),
        (None, "None", 0),
        ((), "()", 0),
        (collections.OrderedDict(logits=torch.ones(1)), "{logits:T}", 1),
    ],
)
def test_an_outputs_structure_is_written_out(value: Any, structure: str, count: int) -> None:
    said, tensors = flatten_output(value)
    assert (said, len(tensors)) == (structure, count)


def test_a_number_becomes_a_0_dim_fp64_tensor() -> None:
    _, (tensor,) = flatten_output(7)
    assert (tensor.dtype, tensor.shape, tensor.item()) == (torch.float64, (), 7.0)


@pytest.mark.parametrize("value", ["text", object(), {1, 2}, 1j, (torch.ones(1), lambda: 0), range(3)])
def test_anything_else_in_an_output_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="an output holds a"):
        flatten_output(value)
