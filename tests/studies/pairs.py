"""Problems whose solutions are their own references, renamed, from some microseconds to some milliseconds a call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

_MODULE = '''"""{name}: for a study of the measurement."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class {class_name}(nn.Module):
    def __init__(self):
        super().__init__()
        {layer}

    def forward(self, {arguments}):
        return {expression}
'''
_INPUTS = """

def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
"""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One problem: what it computes of its inputs, on tensors of which shapes."""

    name: str
    expression: str
    shapes: tuple[tuple[int, ...], ...]
    layer: str = "pass"

    def source(self, class_name: str) -> str:
        """The text of a file that defines the module under `class_name`."""
        arguments = ", ".join("xy"[: len(self.shapes)])
        return _MODULE.format(
            name=self.name, class_name=class_name, layer=self.layer, arguments=arguments, expression=self.expression
        )

    def problem(self) -> str:
        """The text of the problem's file."""
        return self.source("Model") + _INPUTS.format(inputs=", ".join(f"torch.rand{shape}" for shape in self.shapes))


def _subject(name: str, expression: str, *shapes: tuple[int, ...], layer: str = "pass") -> Subject:
    return Subject(name=name, expression=expression, shapes=shapes, layer=layer)


ON_CUDA = (
    _subject("relu", "torch.relu(x)", (64, 1024)),
    _subject("add", "x + y", (1024, 1024), (1024, 1024)),
    _subject("softmax", "torch.softmax(x, dim=1)", (1024, 4096)),
    _subject("row_mean", "x.mean(dim=1)", (4096, 8192)),
    _subject("layer_norm", "self.norm(x)", (32768, 1024), layer="self.norm = nn.LayerNorm(1024)"),
    _subject("gelu", "F.gelu(x)", (8192, 8192)),
    _subject("linear", "self.linear(x)", (1024, 1024), layer="self.linear = nn.Linear(1024, 1024)"),
    _subject("matmul_2048", "x @ y", (2048, 2048), (2048, 2048)),
    _subject("conv", "self.conv(x)", (32, 64, 64, 64), layer="self.conv = nn.Conv2d(64, 64, 3)"),
    _subject("linear_gelu", "F.gelu(self.linear(x))", (4096, 2048), layer="self.linear = nn.Linear(2048, 2048)"),
    _subject("matmul_4096", "x @ y", (4096, 4096), (4096, 4096)),
    _subject("matmul_5120", "x @ y", (5120, 5120), (5120, 5120)),
)
ON_CPU = (
    _subject("relu", "torch.relu(x)", (16, 256)),
    _subject("add", "x + y", (128, 256), (128, 256)),
    _subject("softmax", "torch.softmax(x, dim=1)", (64, 1024)),
    _subject("row_mean", "x.mean(dim=1)", (256, 4096)),
    _subject("layer_norm", "self.norm(x)", (512, 1024), layer="self.norm = nn.LayerNorm(1024)"),
    _subject("gelu", "F.gelu(x)", (512, 2048)),
    _subject("linear", "self.linear(x)", (128, 512), layer="self.linear = nn.Linear(512, 512)"),
    _subject("matmul_512", "x @ y", (512, 512), (512, 512)),
    _subject("conv", "self.conv(x)", (4, 16, 64, 64), layer="self.conv = nn.Conv2d(16, 32, 3)"),
    _subject("linear_gelu", "F.gelu(self.linear(x))", (256, 512), layer="self.linear = nn.Linear(512, 512)"),
    _subject("matmul_768", "x @ y", (768, 768), (768, 768)),
    _subject("sigmoid", "torch.sigmoid(x)", (1024, 1024)),
)


def subjects(device: str) -> tuple[Subject, ...]:
    """At least ten for a device: `cpu`, or any `cuda…`."""
    return ON_CPU if device == "cpu" else ON_CUDA


def write(folder: Path, problem: Subject, solutions: dict[str, str]) -> None:
    """Lay a problem and the texts of its solutions, by name, below `folder`."""
    (folder / "problems").mkdir(parents=True, exist_ok=True)
    (folder / "problems" / f"{problem.name}.py").write_text(problem.problem())
    place = folder / "solutions" / problem.name
    place.mkdir(parents=True, exist_ok=True)
    for name, text in solutions.items():
        (place / f"{name}.py").write_text(text)


def kbench(*arguments: object, accepted: Sequence[int] = (0,), lock_dir: Path | None = None) -> tuple[int, str]:
    """Run the command; its exit code and standard output. Exits where the code is none of `accepted`.

    Whoever has cores that nobody else uses may time there while others do elsewhere: `lock_dir` is then its own.
    """
    command = [sys.executable, "-m", "kbench", *map(str, arguments)]
    own = {} if lock_dir is None else {"KBENCH_LOCK_DIR": str(lock_dir)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        sys.exit(f"kbench {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.returncode, done.stdout


def run(folder: Path, out: Path, *options: object, lock_dir: Path | None = None) -> None:
    """Judge and time what `write` laid into `folder`. All must be correct."""
    kbench("run", folder / "problems", folder / "solutions", "--out", out, *options, lock_dir=lock_dir)


def records(run_path: Path) -> dict[str, dict[str, Any]]:
    """A run's records, by `problem/solution`."""
    lines = (run_path / "records.jsonl").read_text().splitlines()
    return {f"{record['problem']}/{record['solution']}": record for record in map(json.loads, lines)}
