"""A whole run over several lanes. Their devices are the CPU under other names: everything but CUDA itself is real."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from inventory_factory import H200
from plan_factory import make_prepared
from run_factory import ENVIRONMENT

from kbench.config import load_options
from kbench.engine import run
from kbench.engine.prepare import Prepared
from kbench.machine.cores import Shares
from kbench.model import Device, Record, Status
from kbench.store.writer import RunStore

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
SOLUTIONS = {
    "a_right": RIGHT,
    "b_wrong": RIGHT.replace("min=0", "min=1"),
    "c_wants_a_device": f"import os\nassert os.environ.get('CUDA_VISIBLE_DEVICES')\n{RIGHT}",
    "d_raises": f"raise ValueError('never')\n{RIGHT}",
    "e_ends": RIGHT.replace("return", "import os; os._exit(1); return"),
}


class Heard:
    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []

    def stage(self, pair: str, stage: str) -> None:
        self.stages.append((pair, stage))

    def ended(self, record: Record) -> None: ...

    def note(self, text: str) -> None: ...


def two_lanes(root: Path) -> Prepared:
    prepared = make_prepared(root, SOLUTIONS, device=Device.CPU)
    (root / "problems" / "p.py").write_text(PROBLEM)
    effort = {"replicates": 1, "blocks": 2, "min_samples": 2, "min_block_ms": 1.0}
    options = load_options({**effort, "jobs": 2}, {"HOME": str(root)}, root).options
    options = dataclasses.replace(options, problems=prepared.options.problems, solutions=prepared.options.solutions)
    gpus = (H200, dataclasses.replace(H200, uuid="GPU-b", place=1))
    inventory = dataclasses.replace(prepared.inventory, gpus=gpus, hidden_gpus=1)
    return dataclasses.replace(prepared, options=options, gpus=gpus, inventory=inventory)


def test_builds_and_lanes_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = sorted(os.sched_getaffinity(0))
    shares = Shares(lanes=(frozenset(cores[:1]), frozenset(cores[-1:])), builds=frozenset(cores), apart=True)
    asked: list[dict[str, Any]] = []

    def share_out(_cores: object, **how: Any) -> Shares:
        asked.append(how)
        return shares

    monkeypatch.setattr(run, "share_out", share_out)
    heard = Heard()
    with RunStore.create(tmp_path / "run", options={}, environment=ENVIRONMENT) as store:
        run.execute(two_lanes(tmp_path), store, heard)
        assert store.records["p", "a_right"].verified_calls > 0
        ended = {key[1]: (record.status, record.reason) for key, record in store.records.items()}
    assert ended == {
        "a_right": (Status.CORRECT, ""),
        "b_wrong": (Status.INCORRECT, "values"),
        "c_wants_a_device": (Status.CORRECT, ""),
        "d_raises": (Status.LOAD_ERROR, "import"),
        "e_ends": (Status.CRASH, "exited"),
    }
    built = [pair for pair, stage in heard.stages if stage == "building"]
    assert built.count("p/c_wants_a_device") == 2, "once without a device and once in a lane's turn"
    assert built.count("p/a_right") == 1
    assert sorted(os.sched_getaffinity(0)) == cores, "all cores are ours again"
    assert asked == [{"places": [0, 1], "of": 3}]
    assert (tmp_path / "run" / "speedups.csv").exists()
