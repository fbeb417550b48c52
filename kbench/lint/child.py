"""Run as a module by `kbench.lint.survey`: examines problems one after another, in a process that one may crash.

Reads a JSON object from standard input and writes one JSON line for each problem to the descriptor it names.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from kbench.lint.examine import examine
from kbench.measure.physics import measure_ceilings
from kbench.plan.problems import read_problem
from kbench.store.jsonl import plain

_TYPICAL_BYTES = 64 << 20


def main() -> None:
    """Examine what standard input lists."""
    order = json.load(sys.stdin)
    device = torch.device("cpu" if order["device"] == "cpu" else "cuda:0")
    ceilings = measure_ceilings(device, typical_bytes=_TYPICAL_BYTES)
    for job in order["jobs"]:
        problem = read_problem(job["problem"], Path(job["path"]))
        report = examine(problem, size=job["size"], device=device, ceilings=ceilings)
        line = json.dumps(plain(report.to_json()), allow_nan=False) + "\n"
        with os.fdopen(os.dup(order["answers"]), "w") as answers:
            answers.write(line)


if __name__ == "__main__":
    main()
