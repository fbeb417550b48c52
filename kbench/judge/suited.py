"""Which cases a reference has one right answer to, found by watching which operators its forward calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_AMBIGUOUS = frozenset({"argsort", "kthvalue", "median", "mode", "nanmedian", "sort", "topk"})
"""Among equal values they may pick any, and no pick is wrong. (argmax and argmin are to pick the first.)"""
_ASSERTING = frozenset({"bernoulli", "binary_cross_entropy", "multinomial"})
"""Values outside [0, 1] trip an assertion on the device, after which nothing runs there any more."""
_OWN_INPUTS = frozenset({"as_given", "randomised_parameters"})


class _Watch(TorchDispatchMode):
    """Collects the names of the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(str(getattr(func, "overloadpacket", func)).rsplit(".", 1)[-1])
        return func(*args, **(kwargs or {}))


def operators(model: torch.nn.Module, inputs: Sequence[Any]) -> frozenset[str]:
    """The names (`topk`) of all operators in one forward. Raises what forward raises."""
    watch = _Watch()
    with torch.no_grad(), watch:
        model(*inputs)
    return frozenset(watch.names)


def objection(case_name: str, names: frozenset[str], device: torch.device) -> str | None:
    """Why the case cannot be asked of a reference that calls the operators `names`; None where it can."""
    if case_name == "ties" and (met := names & _AMBIGUOUS):
        return f"{', '.join(sorted(met))} may choose any of equal values"
    if device.type != "cpu" and case_name not in _OWN_INPUTS and (met := names & _ASSERTING):
        return f"{', '.join(sorted(met))} asserts on the device that its inputs lie in their domain"
    return None
