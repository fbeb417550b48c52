"""A problem's own module in the judge's hands: constants of a size, inputs from a seed, fresh reference models."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from kbench import problem_module
from kbench.errors import ProblemError
from kbench.judge.watched import operators
from kbench.layout import put_together, take_apart
from kbench.model import Precision, Problem

CONSTRUCTION_SEED = 0
"""No secret: both sides construct under it. What depends on secrets is copied over afterwards."""
_CAST = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One set of inputs: the structure around the tensors, and the tensors on the judged device."""

    template: Any
    tensors: tuple[torch.Tensor, ...]


class Reference:
    """One problem at one size on one device. Everything drawn from it follows from seeds alone."""

    def __init__(self, problem: Problem, *, size: str, device: torch.device) -> None:
        """Execute the problem's file. Raises ProblemError when it does not run or lacks a part."""
        self.problem = problem
        self.device = device
        self.source = problem.path.read_text()
        self.overrides = dict(problem.sizes.get(size, {}))
        with blamed_on(problem, "its file does not run"):
            self._module = problem_module.execute(
                self.source, path=str(problem.path), name="kbench_problem", overrides=self.overrides
            )
        for name in ("Model", "get_inputs", "get_init_inputs"):
            if not hasattr(self._module, name):
                raise ProblemError(f"problem {problem.id!r} defines no {name}", where=str(problem.path))
        with blamed_on(problem, "get_init_inputs() failed"), _seeded(CONSTRUCTION_SEED, self.device):
            self.init_inputs: list[Any] = list(self._module.get_init_inputs())
        self._prototype: torch.nn.Module | None = None
        self._operators: frozenset[str] | None = None

    @property
    def dtype(self) -> torch.dtype | None:
        """What floating inputs and parameters are cast to, or None: as the file makes them."""
        return _CAST.get(self.problem.precision)

    def draw(self, seed: int) -> Drawn:
        """The problem's own inputs under `seed`, on the device. Raises ProblemError."""
        with blamed_on(self.problem, "get_inputs() failed"):
            values = list(self._get_inputs(seed))
        template, tensors = take_apart(values)
        return Drawn(template=template, tensors=tuple(self._placed(tensor) for tensor in tensors))

    def _get_inputs(self, seed: int) -> Any:
        """On the device where the file lets us: its own generator is a hundred times faster there."""
        if self.device.type != "cpu":
            with contextlib.suppress(RuntimeError, TypeError), _seeded(seed, self.device), torch.device(self.device):
                return self._module.get_inputs()
        with _seeded(seed, self.device):
            return self._module.get_inputs()

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        placed = tensor.detach().to(self.device)
        return placed.to(self.dtype) if self.dtype is not None and placed.is_floating_point() else placed

    def model(self) -> torch.nn.Module:
        """A fresh reference model on the device, in the problem's mode. Raises ProblemError.

        Constructed once and copied, since a large model takes seconds to initialise. One that cannot be copied is
        constructed anew each time.
        """
        if self._prototype is None:
            self._prototype = self._constructed()
        try:
            return copy.deepcopy(self._prototype)
        except (RuntimeError, TypeError):  # a tensor with a history, a lock, a generator
            return self._constructed()

    def initial_state(self) -> dict[str, torch.Tensor]:
        """Copies of the parameters and buffers that the problem's file makes. Raises ProblemError."""
        if self._prototype is None:
            self._prototype = self._constructed()
        return {name: tensor.detach().clone() for name, tensor in self._prototype.state_dict().items()}

    def operators(self) -> frozenset[str]:
        """The names of the operators that one forward calls. Raises ProblemError."""
        if self._operators is None:
            drawn = self.draw(CONSTRUCTION_SEED)
            with blamed_on(self.problem, "its forward could not be watched"):
                self._operators = operators(self.model(), put_together(drawn.template, drawn.tensors))
        return self._operators

    def _constructed(self) -> torch.nn.Module:
        with blamed_on(self.problem, "Model() failed"), _seeded(CONSTRUCTION_SEED, self.device):
            model = self._module.Model(*self.init_inputs)
        if not isinstance(model, torch.nn.Module):
            raise ProblemError(
                f"problem {self.problem.id!r}: Model is no torch.nn.Module", where=str(self.problem.path)
            )
        model = model.to(self.device)
        if self.dtype is not None:
            model = model.to(self.dtype)
        if self.problem.mode is not None:
            model.train(self.problem.mode == "train")
        return model


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """What `torch.manual_seed` does, for the CPU and `device` alone.

    `manual_seed` itself imports torch's compiler first (seconds), and for every device that is not in use yet it keeps
    a stack trace of each call (milliseconds).
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    yield


@contextlib.contextmanager
def blamed_on(problem: Problem, what: str) -> Iterator[None]:
    """Turn whatever the block raises into a ProblemError: problem files are ours to trust, but may be wrong."""
    try:
        yield
    except (ProblemError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ProblemError(
            f"problem {problem.id!r}: {what}",
            where=str(problem.path),
            why=f"{type(error).__name__}: {error}",
            hint="run the file by itself: Model(*get_init_inputs())(*get_inputs())",
        ) from error
