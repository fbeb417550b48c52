"""Judge one candidate the way it is usually done: everything in one fresh interpreter, which trusts it.

    python -m benchmarks.stock PROBLEM SOLUTION --device cuda

Imports torch, builds with the stock `load_inline` in an empty folder, compares with the reference by allclose on a few
seeded inputs, and times both with CUDA events (on the CPU with perf_counter). Prints one line of JSON: the status, and
the seconds of each part. Whoever starts it measures the whole.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_CHECKS = 5
_WARM_UP_CALLS = 5
_TIMED_CALLS = 100
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
"""Tolerances. The usual absolute one of 1e-2 to 1e-4 would let wrong softmaxes pass, whose elements are smaller."""
_BUILD_REFUSED = "Error building extension"
"""How torch begins what it raises when a compiler refuses."""


def main() -> None:
    """Judge one candidate and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", type=Path)
    parser.add_argument("solution", type=Path)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    said = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as empty:
        os.environ["TORCH_EXTENSIONS_DIR"] = empty
        answer = judge(options.problem, options.solution, device=options.device)
    print(json.dumps(answer), file=said)


def judge(problem: Path, solution: Path, *, device: str) -> dict[str, Any]:
    """`status` (as kbench names them), `parts_s`, and for a correct candidate `time_ms` and `reference_ms`."""
    parts_s: dict[str, float] = {}
    with _part("torch", parts_s):
        import torch

        torch.zeros(1, device=device)
    with _part("build", parts_s):
        reference_module = _imported(problem, "reference")
        try:
            model = _imported(solution, "candidate").ModelNew(*reference_module.get_init_inputs()).to(device)
        except Exception as error:  # a candidate may raise anything
            refused = str(error).startswith(_BUILD_REFUSED)
            return {"status": "build_error" if refused else "load_error", "parts_s": parts_s}
        reference = reference_module.Model(*reference_module.get_init_inputs()).to(device)

    def inputs(seed: int) -> list[Any]:
        torch.manual_seed(seed)
        return [tensor.to(device) for tensor in reference_module.get_inputs()]

    with torch.no_grad():
        with _part("check", parts_s):
            try:
                right = all(_agree(reference, model, inputs(seed)) for seed in range(_CHECKS))
            except Exception:
                return {"status": "runtime_error", "parts_s": parts_s}
        if not right:
            return {"status": "incorrect", "parts_s": parts_s}
        with _part("time", parts_s):
            ready = inputs(_CHECKS)
            times = [_median_ms(module, ready, device) for module in (model, reference)]
    return {"status": "correct", "parts_s": parts_s, "time_ms": times[0], "reference_ms": times[1]}


def _agree(reference: Any, model: Any, inputs: Sequence[Any]) -> bool:
    import torch

    wanted, got = reference(*inputs), model(*inputs)
    return wanted.shape == got.shape and torch.allclose(wanted, got, rtol=_RELATIVE, atol=_ABSOLUTE)


def _median_ms(module: Any, inputs: Sequence[Any], device: str) -> float:
    """Of single calls on the same inputs, milliseconds."""
    from torch import cuda

    for _ in range(_WARM_UP_CALLS):
        module(*inputs)
    times = []
    for _ in range(_TIMED_CALLS):
        if device == "cpu":
            begun = time.perf_counter()
            module(*inputs)
            times.append(1e3 * (time.perf_counter() - begun))
            continue
        begin, end = (cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        module(*inputs)
        end.record()
        cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def _imported(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _part(name: str, parts_s: dict[str, float]) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    finally:
        parts_s[name] = round(time.perf_counter() - begun, 3)


if __name__ == "__main__":
    main()
