"""Where tensors lie in the memory that judge and worker share, and how a Python value is taken apart around them.

Both sides use this module; the judge alone decides sizes, shapes and dtypes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

ALIGNMENT = 256
"""Bytes. What CUDA allocators give, and more than any CPU vector needs."""


@dataclass(frozen=True)
class TensorSlot:
    """One tensor's place in an arena: dtype name, shape, strides (elements), offset and span (bytes)."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    span: int

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


@dataclass(frozen=True)
class Leaf:
    """Stands for the n-th tensor in a structure whose tensors were taken out."""

    index: int


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


def lay_out(tensors: Iterable[torch.Tensor], *, zone: int = 0) -> tuple[tuple[TensorSlot, ...], int]:
    """Give each tensor a place, one after another, with `zone` bytes left free before, between and behind them
    (a multiple of ALIGNMENT). Returns the slots and the bytes they need together."""
    slots: list[TensorSlot] = []
    at = zone
    for tensor in tensors:
        shape = tuple(tensor.shape)
        dense = is_dense(shape, tuple(tensor.stride()))
        strides = tuple(tensor.stride()) if dense else contiguous_strides(shape)
        span = tensor.numel() * tensor.element_size()
        slots.append(TensorSlot(dtype_name(tensor.dtype), shape, strides, at, span))
        at += -(-max(span, 1) // ALIGNMENT) * ALIGNMENT + zone
    return tuple(slots), max(at, ALIGNMENT)


def flat_view(arena: torch.Tensor, slot: TensorSlot) -> torch.Tensor:
    """The elements at `slot` of `arena` in the order they lie in memory: one dimension."""
    return arena[slot.offset : slot.offset + slot.span].view(slot.torch_dtype)


def shifted(slot: TensorSlot, offset: int) -> TensorSlot:
    """The same form, `offset` bytes further on."""
    return dataclasses.replace(slot, offset=slot.offset + offset)


def view(arena: torch.Tensor, slot: TensorSlot) -> torch.Tensor:
    """The tensor at `slot` of `arena` (a flat uint8 tensor), sharing its memory."""
    return flat_view(arena, slot).as_strided(slot.shape, slot.strides)


def is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a tensor of this form fills its span without holes or overlaps, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return expected > 0


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides (elements) of a tensor whose last dimension lies closest together."""
    strides: list[int] = []
    at = 1
    for size in reversed(shape):
        strides.append(at)
        at *= max(size, 1)
    return tuple(reversed(strides))


def take_apart(value: Any) -> tuple[Any, list[torch.Tensor]]:
    """Split nested tuples, lists and dicts into a template with `Leaf`s and the tensors. Other values stay."""
    tensors: list[torch.Tensor] = []

    def taken(item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return item
        tensors.append(item)
        return Leaf(len(tensors) - 1)

    return _with_items(value, taken), tensors


def put_together(template: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """The inverse of `take_apart`."""
    return _with_items(template, lambda item: tensors[item.index] if isinstance(item, Leaf) else item)


def _with_items(value: Any, replaced: Callable[[Any], Any]) -> Any:
    """The same nesting of tuples, lists and dicts around `replaced(item)` for each item.

    No inner function that calls itself: with its tensors it would stay in memory until garbage is next collected.
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_with_items(part, replaced) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(_with_items(part, replaced) for part in value)
    if isinstance(value, Mapping):
        return {key: _with_items(part, replaced) for key, part in value.items()}
    return replaced(value)


def flatten_output(value: Any) -> tuple[str, list[torch.Tensor]]:
    """An output's structure as text (`T`, `(T,T)`, `{a:T}`, `(T,None)`) and its tensors in that order.

    Python numbers count as 0-dim fp64 tensors, written `N`; objects with fields (a dataclass-like output of a
    library) by their `items()` where they have them. Raises TypeError for anything else.
    """
    tensors: list[torch.Tensor] = []
    return _describe(value, tensors.append), tensors


def _describe(value: Any, add: Callable[[torch.Tensor], None]) -> str:
    if isinstance(value, torch.Tensor):
        add(value)
        return "T"
    if value is None:
        return "None"
    if isinstance(value, bool | int | float):
        add(torch.tensor(float(value), dtype=torch.float64))
        return "N"
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return "{" + ",".join(f"{key}:{_describe(part, add)}" for key, part in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ",".join(_describe(part, add) for part in value) + ")"
    if isinstance(value, list):
        return "[" + ",".join(_describe(part, add) for part in value) + "]"
    raise TypeError(f"an output holds a {type(value).__name__}")
