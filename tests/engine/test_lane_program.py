"""The program of a lane, on the CPU: from an order over its connection to records that say what a run's do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from plan_factory import make_prepared

from kbench.build.service import Build
from kbench.build.toolchain import detect
from kbench.config import load_options
from kbench.engine.lane_process import LaneProcess, Order
from kbench.model import Device, Record, Status

pytestmark = pytest.mark.workers
PROBLEM = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)

def get_inputs():
    return [torch.randn(64, 64)]

def get_init_inputs():
    return []
"""
RIGHT = "import torch\nclass ModelNew(torch.nn.Module):\n    def forward(self, x):\n        return x.clamp(min=0)\n"
WRONG = RIGHT.replace("min=0", "min=1")
GONE = RIGHT.replace("return", "import os; os._exit(1); return")


class Notes:
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, pair: str, stage: str) -> None:
        self.stages.append(f"{pair} {stage}")

    def ended(self, record: Record) -> None: ...

    def note(self, text: str) -> None: ...


def test_pairs_are_judged_and_timed_in_another_process(tmp_path: Path) -> None:
    prepared = make_prepared(tmp_path, {"a_right": RIGHT, "b_gone": GONE, "c_wrong": WRONG}, device=Device.CPU)
    (tmp_path / "problems" / "p.py").write_text(PROBLEM)
    flags = {"replicates": 1, "blocks": 2, "min_samples": 2, "min_block_ms": 1.0, "device": "cpu"}
    options = load_options(flags, {"HOME": str(tmp_path)}, tmp_path).options
    options = dataclasses.replace(options, problems=prepared.options.problems, solutions=prepared.options.solutions)
    prepared = dataclasses.replace(prepared, options=options)
    run, notes = tmp_path / "run", Notes()
    run.mkdir()
    order = Order(
        prepared=prepared, toolchain=detect(cuda_arch=None), run=run, environment_key="key", first=prepared.jobs[0]
    )
    lane = LaneProcess(order, cores={0, 1}, listener=notes)
    try:
        ended = [lane.submit(job, Build()).result() for job in prepared.jobs]
    finally:
        lane.close(at_once=False)
    records = [record for record, *_ in ended]
    assert [(record.status, record.environment_key) for record in records] == [
        (Status.CORRECT, "key"), (Status.CRASH, "key"), (Status.INCORRECT, "key"),
    ]  # fmt: skip
    assert {sample.side for sample in ended[0][1]} == {"solution", "eager"}
    assert records[0].verified_calls > 0
    assert "p/a_right judging" in notes.stages
    assert (run / "logs" / "p" / "a_right" / "judge.log").exists()
