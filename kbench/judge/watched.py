"""A forward, watched operator by operator: which ones it calls, and what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Watch(TorchDispatchMode):
    """While it is entered: `names` of the operators that are called (`topk`), and their floating-point operations,
    `flops`, as far as torch has a formula: for matrix products, convolutions, attention.

    It counts what torch's `FlopCounterMode` does, but for branches of `torch.cond` and Triton kernels. That one would
    import Dynamo, which takes seconds, only to keep it from looking inside; nothing is compiled here.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.flops = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket if isinstance(func, torch._ops.OpOverload) else None
        self.names.add(str(packet or func).rsplit(".", 1)[-1])
        count = flop_registry.get(packet)
        if count is None and isinstance(func, torch._ops.OpOverload):
            with self:  # under inference_mode what is composed of others comes whole
                if (composed := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return composed
        result = func(*args, **kwargs)
        if count is not None:
            self.flops += count(*args, **kwargs, out_val=result)
        return result


def operators(model: torch.nn.Module, inputs: Sequence[Any]) -> frozenset[str]:
    """The names (`topk`) of all operators in one forward. Raises what forward raises."""
    with torch.no_grad(), Watch() as watch:
        model(*inputs)
    return frozenset(watch.names)
