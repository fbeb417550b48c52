"""Another clock beside ours, on CUDA: kernels as CUPTI timed them, and a host that dawdles.

    python -m studies.clocks                                                              (from tests/)

Times a copy, a matrix product and a reduction with `kbench run`, and then in a process of its own with torch's
profiler, which gets its times from CUPTI: fresh inputs in many sets and a cold L2, from the start of the first kernel
to the end of the last. Then the same copy with 100 us of Python in `forward`. Prints both tables, judges nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from studies.pairs import ROOT, Subject, records, run, write

_SUBJECTS = (
    Subject(name="copy", expression="x.clone()", shapes=((4096, 4096),)),
    Subject(name="matmul", expression="x @ y", shapes=((2048, 2048), (2048, 2048))),
    Subject(name="reduction", expression="x.sum()", shapes=((8192, 8192),)),
)
_DAWDLES = """
import time

_Prompt = ModelNew


class ModelNew(_Prompt):
    def forward(self, *inputs):
        until = time.perf_counter_ns() + 100_000
        while time.perf_counter_ns() < until:
            pass
        return super().forward(*inputs)
"""
_PROFILED = """
import json, statistics, sys
import torch
from torch.profiler import ProfilerActivity, profile

names = {}
exec(sys.stdin.read(), names)
model = names["Model"]().cuda()
calls, flush = 16, torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
per_call = []
with torch.no_grad():
    sets = [[tensor.cuda() for tensor in names["get_inputs"]()] for _ in range(calls)]
    for _ in range(3):
        kept = [model(*each) for each in sets]
    for _ in range(20):
        flush.zero_()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            torch.cuda._sleep(20_000_000)
            kept = [model(*each) for each in sets]
            torch.cuda.synchronize()
        spans = sorted(
            (event.start_ns(), event.start_ns() + event.duration_ns())
            for event in seen.profiler.kineto_results.events()
            if "CUDA" in str(event.device_type()) and "spin" not in event.name() and event.duration_ns() > 0
        )
        per_call.append((max(end for _, end in spans) - spans[0][0]) / calls)
print(json.dumps(statistics.median(per_call)))
"""


def main() -> None:
    """Measure both ways."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for subject in _SUBJECTS:
            copy = subject.source("ModelNew")
            write(folder, subject, {"prompt": copy} | ({"dawdles": copy + _DAWDLES} if subject.name == "copy" else {}))
        run(folder, folder / "run", "--device", "cuda")
        found = records(folder / "run")
    print("| | kbench, us | CUPTI, us | difference | allowed |\n| --- | ---: | ---: | ---: | ---: |")
    for subject in _SUBJECTS:
        ours, other = 1e3 * found[f"{subject.name}/prompt"]["time_ms"], _by_cupti(subject)
        allowed = max(1.0, 0.03 * other)
        cells = (subject.name, f"{ours:.2f}", f"{other:.2f}", f"{ours - other:+.2f} us", f"{allowed:.2f} us")
        print(f"| {' | '.join(cells)} |")
    print("\n| copy | device, us | enqueue, us | wall, us | flags |\n| --- | ---: | ---: | ---: | --- |")
    for name in ("prompt", "dawdles"):
        print(_host_row(name, found[f"copy/{name}"]))


def _host_row(name: str, record: dict[str, Any]) -> str:
    host = record["host"]["solution"]
    times = (record["time_ms"], host["enqueue_ms"], host["wall_ms"])
    cells = [name, *(f"{1e3 * ms:.2f}" for ms in times), ", ".join(record["flags"]) or "-"]
    return f"| {' | '.join(cells)} |"


def _by_cupti(subject: Subject) -> float:
    """Microseconds per call."""
    command = [sys.executable, "-W", "ignore", "-c", _PROFILED]
    done = subprocess.run(command, cwd=ROOT, input=subject.problem(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"the profiled process ended with {done.returncode}:\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1])) / 1e3


if __name__ == "__main__":
    main()
