"""How long trusted eager takes on the device, and the least it could take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from kbench.judge.cases import Case
from kbench.judge.reference import Reference
from kbench.judge.watched import Watch
from kbench.layout import flatten_output, put_together
from kbench.lint.values import Timing
from kbench.measure import physics

_WARM_UP_CALLS = 2
_LEAST_CALLS = 5
_MOST_CALLS = 200
_ENOUGH_S = 0.3


def time_eager(reference: Reference, case: Case, ceilings: physics.Ceilings) -> Timing:
    """Median time of one forward on the inputs of `case`. Raises ProblemError."""
    model = reference.model()
    model.load_state_dict(dict(case.state))
    tensors = [tensor.clone() for tensor in case.inputs.tensors]
    arguments = put_together(case.inputs.template, tensors)
    with torch.no_grad():
        with Watch() as watch:
            _, outputs = flatten_output(model(*arguments))
        moved = [*tensors, *model.state_dict().values(), *outputs]
        counted_bytes = float(sum(tensor.numel() * tensor.element_size() for tensor in moved))
        del outputs, moved
        eager_s, enqueue_s = _time(lambda: model(*arguments), reference.device)
    least_bytes, least_flops = physics.least_work(
        reference.problem.floor, counted_bytes=counted_bytes, counted_flops=watch.flops
    )
    return Timing(
        eager_ms=1e3 * eager_s,
        enqueue_ms=None if enqueue_s is None else 1e3 * enqueue_s,
        floor_ms=physics.floor_ms(ceilings, least_bytes=least_bytes, least_flops=least_flops),
    )


def _time(call: Callable[[], object], device: torch.device) -> tuple[float, float | None]:
    """Seconds of one call, and on CUDA the host's share. Calls follow each other, so a short one is not all latency."""
    for _ in range(_WARM_UP_CALLS):
        call()
    if device.type != "cuda":
        times: list[float] = []
        while len(times) < _LEAST_CALLS or (sum(times) < _ENOUGH_S and len(times) < _MOST_CALLS):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return statistics.median(times), None
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(_LEAST_CALLS):
        call()
    torch.cuda.synchronize(device)
    calls = int(min(_MOST_CALLS, max(_LEAST_CALLS, _ENOUGH_S * _LEAST_CALLS / (time.perf_counter() - start))))
    start = time.perf_counter()
    for _ in range(calls):
        call()
    enqueued = time.perf_counter()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / calls, (enqueued - start) / calls
