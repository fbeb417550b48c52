"""Planned pairs for tests of what comes after the plan."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from inventory_factory import H200, TWO_GPUS

from kbench.config import RunOptions
from kbench.engine.prepare import Prepared
from kbench.machine.environment import Available
from kbench.model import Device
from kbench.plan.discover import discover

PROBLEM = "class Model: pass\ndef get_inputs(): return []\ndef get_init_inputs(): return []\n"
SOLUTION = "class ModelNew: pass\n"
EVERYTHING = Available(cuda=True, cuda_devices=2, nvcc=True, compiler=True, torch=True)


def make_prepared(root: Path, solutions: dict[str, str], *, device: Device = Device.CUDA) -> Prepared:
    """A run of one problem, `p`, whose solutions are these texts by name."""
    (root / "problems").mkdir()
    (root / "problems" / "p.py").write_text(PROBLEM)
    folder = root / "solutions" / "p"
    folder.mkdir(parents=True)
    for name, text in solutions.items():
        (folder / f"{name}.py").write_text(text)
    discovery = discover(
        root / "problems", root / "solutions", device=device, available=EVERYTHING, materialise=root / "made"
    )
    gpus = (H200, dataclasses.replace(H200, uuid="GPU-b")) if device is Device.CUDA else ()
    return Prepared(
        options=RunOptions(
            problems=root / "problems", solutions=root / "solutions", jobs=2, cache_dir=root / "cache", lock_dir=root
        ),
        available=EVERYTHING, inventory=dataclasses.replace(TWO_GPUS, gpus=gpus), device=device, gpus=gpus,
        discovery=discovery,
    )  # fmt: skip
