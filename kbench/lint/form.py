"""Look at a problem's inputs, module and answer, before anything is compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import SeedSource
from kbench.judge.oracle import same_bytes
from kbench.judge.reference import Drawn, Reference, blamed_on
from kbench.layout import flatten_output, put_together, take_apart
from kbench.lint.model import Unfit
from kbench.lint.values import Form, InputSeen

_RUN_IT = "run the file by itself: Model(*get_init_inputs())(*get_inputs())"


@contextmanager
def stage(check: str, remedy: str = "") -> Iterator[None]:
    """Turn a ProblemError of the block, or its lack of memory, into Unfit under this check's name."""
    try:
        yield
    except ProblemError as error:
        raise Unfit(check, ": ".join(filter(None, (error.what, error.why))), remedy or error.hint or _RUN_IT) from error
    except torch.OutOfMemoryError as error:
        raise Unfit("memory", str(error).splitlines()[0], "give it a smaller size, or a device with more memory") from (
            error
        )


def read_form(reference: Reference, seeds: SeedSource) -> Form:
    """Draw, construct and call once. Raises Unfit where that fails, or leaves nothing to compare."""
    with stage("runs"):
        inputs, reproducible = _read_inputs(reference, seeds)
        model = reference.model()
        _look_at_output(reference, model, reference.draw(seeds.next()))
    saved = model.state_dict()
    return Form(
        inputs=inputs,
        reproducible=reproducible,
        plain_tensors=tuple(_plain_tensors(model)),
        unsaved_buffers=tuple(name for name, _ in model.named_buffers() if name not in saved),
        special=tuple(_special_values(reference)),
    )


def _read_inputs(reference: Reference, seeds: SeedSource) -> tuple[tuple[InputSeen, ...], bool]:
    seed = seeds.next()
    first, again, other = reference.draw(seed), reference.draw(seed), reference.draw(seeds.next())
    for drawn in (again, other):
        if _shapes(drawn) != _shapes(first):
            raise Unfit(
                "input_shapes",
                f"get_inputs() gives other shapes or dtypes each time: {_shapes(first)}, then {_shapes(drawn)}",
                "draw values at random, never shapes: both sides share one buffer for every input",
            )
    pairs = zip(first.tensors, other.tensors, strict=True)
    seen = tuple(InputSeen(shape=tuple(a.shape), redrawn=not same_bytes(a, b)) for a, b in pairs)
    return seen, all(same_bytes(a, b) for a, b in zip(first.tensors, again.tensors, strict=True))


def _shapes(drawn: Drawn) -> str:
    return ", ".join(f"{list(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in drawn.tensors)


def _look_at_output(reference: Reference, model: torch.nn.Module, drawn: Drawn) -> None:
    with blamed_on(reference.problem, "its forward failed"), torch.no_grad():
        output = model(*put_together(drawn.template, [tensor.clone() for tensor in drawn.tensors]))
    hint = "return tensors, or tuples, lists and dictionaries of them"
    try:
        structure, tensors = flatten_output(output)
    except TypeError as error:
        raise Unfit("structure", str(error), hint) from error
    if not any(tensor.numel() for tensor in tensors):
        raise Unfit("structure", f"the output ({structure}) holds no element to compare", hint)


def _plain_tensors(model: torch.nn.Module) -> Iterator[str]:
    registered = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            _, tensors = take_apart(value)
            if any(id(tensor) not in registered for tensor in tensors):
                yield f"{path}.{name}" if path else name


def _special_values(reference: Reference) -> Iterator[tuple[str, float]]:
    for name, tensor in reference.model().state_dict().items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        for value in (0.0, 1.0):
            if bool((tensor == value).all()):
                yield name, value
