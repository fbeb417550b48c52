"""Answers that skip work. Each is put to the judge's own criteria, case by case, until one catches it.

What no case catches, a solution may do as well, and be `correct`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import Case
from kbench.judge.oracle import Expected, Ran, run_in_fp64, run_reference, same_bytes
from kbench.judge.reference import Drawn, Reference
from kbench.lint.acceptance import Answer, accepted, distance
from kbench.lint.values import Kind, Trick

_LEAST_HALVED = 4
"""Half of fewer slices is a different problem, not a sample of this one."""

_LESS_THAN_ROUNDING = 2.0**-40


class Fate(enum.Enum):
    """What became of a trick in one case."""

    CAUGHT = enum.auto()
    ACCEPTED = enum.auto()
    UNCHANGED = enum.auto()
    """Accepted, since what was left out changes nothing at all."""
    NO_TRICK = enum.auto()
    """What was left out is not shared between the parts of the answer, so nothing was skipped."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A case with its answer, and other values to put in place of its own."""

    reference: Reference
    case: Case
    expected: Expected
    other_inputs: Drawn
    """The same case under another seed."""
    other_state: Mapping[str, torch.Tensor]
    """Randomised anew."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A trick and how to try it."""

    trick: Trick
    try_in: Callable[[Setting], Fate]


def attempts(setting: Setting) -> Iterator[Attempt]:
    """Every trick that suits the form of a problem, as its first case shows it."""
    yield from _on_outputs(setting)
    for number in range(len(setting.case.inputs.tensors)):
        yield _ignore_input(number)
    for names in _tied(setting.reference):
        yield _ignore_state(names)
    yield from _halves(setting.case)


def _judged(answer: Answer, setting: Setting) -> Fate:
    return Fate.ACCEPTED if accepted(answer, setting.expected) else Fate.CAUGHT


def _on_outputs(setting: Setting) -> Iterator[Attempt]:
    for number, eager in enumerate(setting.expected.eager):
        name = f"output {number}"
        if eager.numel():
            yield _made_up(Kind.ZEROS, name, number, torch.zeros_like)
        if eager.numel() > 1:
            yield _made_up(Kind.CONSTANT, name, number, _one_value)
        if eager.is_floating_point():
            wide = [dim for dim, size in enumerate(eager.shape) if 1 < size < eager.numel()]
            for dim in wide:
                yield _made_up(Kind.FLAT, f"{name} along dimension {dim}", number, _flattener(dim))
        for place, tensor in enumerate(setting.case.inputs.tensors):
            if tensor.shape == eager.shape and tensor.dtype == eager.dtype:
                yield _echo(place, number)


def _made_up(kind: Kind, subject: str, number: int, make: Callable[[torch.Tensor], torch.Tensor]) -> Attempt:
    def try_in(setting: Setting) -> Fate:
        return _judged(Answer(outputs={number: make(setting.expected.oracle[number])}), setting)

    return Attempt(trick=Trick(kind=kind, subject=subject, output=number), try_in=try_in)


def _one_value(oracle: torch.Tensor) -> torch.Tensor:
    """The best single number: the mean, or among integers the most common.

    One element differs by less than rounding, as a solution would have it: the judge refuses what is wholly constant.
    """
    if not oracle.is_floating_point():
        return torch.full_like(oracle, oracle.flatten().mode().values.item())
    finite = oracle[oracle.isfinite()]
    made_up = torch.full(oracle.shape, float(finite.mean()) if finite.numel() else 0.0).to(oracle)
    made_up.view(-1)[0] *= 1 + _LESS_THAN_ROUNDING
    return made_up


def _flattener(dim: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda oracle: oracle.mean(dim, keepdim=True).expand_as(oracle)


def _echo(place: int, number: int) -> Attempt:
    def try_in(setting: Setting) -> Fate:
        return _judged(Answer(outputs={number: setting.case.inputs.tensors[place]}), setting)

    subject = f"input {place}, returned as output {number},"
    return Attempt(trick=Trick(kind=Kind.ECHO, subject=subject, output=number), try_in=try_in)


def _ignore_input(place: int) -> Attempt:
    """The answer to other values of this input alone."""

    def try_in(setting: Setting) -> Fate:
        tensors = list(setting.case.inputs.tensors)
        other = setting.other_inputs.tensors[place]
        tensors[place] = _shaken(tensors[place]) if same_bytes(tensors[place], other) else other
        if same_bytes(tensors[place], setting.case.inputs.tensors[place]):
            return Fate.NO_TRICK  # integers that are the same under every seed: no other values are known to be valid
        return _rerun(setting, setting.case.state, tensors)

    return Attempt(trick=Trick(kind=Kind.INPUT, subject=f"input {place}", inputs=(place,)), try_in=try_in)


def _shaken(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    reach = float(tensor[tensor.isfinite()].abs().mean()) if tensor.numel() else 0.0
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)).to(tensor)
    return tensor + 0.5 * (reach or 1.0) * noise


def _ignore_state(names: tuple[str, ...]) -> Attempt:
    """The answer with other values of this parameter or buffer alone."""

    def try_in(setting: Setting) -> Fate:
        state = {**setting.case.state, **{name: setting.other_state[name] for name in names}}
        return _rerun(setting, state, list(setting.case.inputs.tensors))

    return Attempt(trick=Trick(kind=Kind.STATE, subject=" = ".join(names)), try_in=try_in)


def _tied(reference: Reference) -> list[tuple[str, ...]]:
    """Floating parameters and buffers by name; those that share memory together."""
    by_memory: dict[int, list[str]] = {}
    for name, tensor in reference.model().state_dict().items():
        if tensor.is_floating_point() and tensor.numel():
            by_memory.setdefault(tensor.data_ptr(), []).append(name)
    return [tuple(names) for names in by_memory.values()]


def _rerun(setting: Setting, state: Mapping[str, torch.Tensor], tensors: list[torch.Tensor]) -> Fate:
    case = dataclasses.replace(setting.case, state=state)
    try:
        ran = run_reference(setting.reference, case, inputs=[tensor.clone() for tensor in tensors])
    except ProblemError:
        return Fate.CAUGHT  # it fails with other values, so it does look at them
    return _judged(_answer(ran), setting)


def _answer(ran: Ran) -> Answer:
    return Answer(outputs=dict(enumerate(ran.outputs)), state=ran.state)


def _halves(case: Case) -> Iterator[Attempt]:
    """One for every size of every dimension of the inputs: `sampled` statistics, half the terms of a sum."""
    places: dict[tuple[int, int], list[int]] = {}
    for place, tensor in enumerate(case.inputs.tensors):
        for dim, size in enumerate(tensor.shape):
            if size >= _LEAST_HALVED:
                places.setdefault((dim, size), []).append(place)
    for (dim, _), inputs in places.items():
        yield _half(dim, tuple(inputs))


def _half(dim: int, places: tuple[int, ...]) -> Attempt:
    """The answer to inputs whose second half along a dimension repeats the first.

    Where the output has that dimension, each half of it is answered from its own half of the inputs: what is then wrong
    is only what the halves share, such as statistics.
    """

    def try_in(setting: Setting) -> Fate:
        size = setting.case.inputs.tensors[places[0]].shape[dim]
        try:
            if _repeats(setting.case.inputs, dim, places):
                return Fate.NO_TRICK
            first = _from_half(setting, dim, places, first=True)
            shared = {n for n, output in enumerate(first.outputs) if output.dim() > dim and output.shape[dim] == size}
            second = _from_half(setting, dim, places, first=False) if shared else first
        except ProblemError:
            return Fate.CAUGHT
        pairs = enumerate(zip(first.outputs, second.outputs, strict=True))
        outputs = {n: _spliced(a, b, dim) if n in shared and a.shape == b.shape else a for n, (a, b) in pairs}
        answer = Answer(outputs=outputs, state=first.state)
        if not accepted(answer, setting.expected):
            return Fate.CAUGHT
        apart = distance(answer, setting.expected)
        if shared:
            return Fate.NO_TRICK if apart <= 1 else Fate.ACCEPTED
        return Fate.UNCHANGED if apart == 0 else Fate.ACCEPTED

    subject = f"dimension {dim} of input {', '.join(map(str, places))}"
    return Attempt(trick=Trick(kind=Kind.HALF, subject=subject, inputs=places), try_in=try_in)


def _spliced(a: torch.Tensor, b: torch.Tensor, dim: int) -> torch.Tensor:
    half = a.shape[dim] // 2
    return torch.cat([a.narrow(dim, 0, half), b.narrow(dim, half, b.shape[dim] - half)], dim)


def _from_half(setting: Setting, dim: int, places: tuple[int, ...], *, first: bool) -> Ran:
    """The fp64 answer where one half of the inputs along `dim` also stands in the other's place."""
    tensors = list(setting.case.inputs.tensors)
    for place in places:
        tensors[place] = _tiled(tensors[place], dim, first=first)
    inputs = dataclasses.replace(setting.case.inputs, tensors=tuple(tensors))
    return run_in_fp64(setting.reference, dataclasses.replace(setting.case, inputs=inputs))


def _tiled(tensor: torch.Tensor, dim: int, *, first: bool) -> torch.Tensor:
    size = tensor.shape[dim]
    half, index = size // 2, torch.arange(size, device=tensor.device)
    return tensor.index_select(dim, index % half if first else half + (index - half) % (size - half))


def _repeats(inputs: Drawn, dim: int, places: tuple[int, ...]) -> bool:
    """Whether the halves are the same to begin with, as those of a mask may be."""
    tensors = [inputs.tensors[place] for place in places]
    return all(same_bytes(tensor, _tiled(tensor, dim, first=True)) for tensor in tensors)
