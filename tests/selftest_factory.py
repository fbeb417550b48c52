"""A small suite on disk, and the files and findings that tests of the selftest start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from run_factory import make_record

from kbench.model import Record, Status
from kbench.selftest.expectation import parse_expectation
from kbench.selftest.findings import Finding, examine
from kbench.selftest.specimens import Specimen

PROBLEM = """
import torch
import torch.nn as nn

rows = 256


class Model(nn.Module):
    def forward(self, x):
        return torch.relu(x * 2.0)


def get_inputs():
    return [torch.randn(rows, 512)]


def get_init_inputs():
    return []
"""
SOLUTION = '''"""expect: {expect}

A file of a test.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return {returns}
'''
RIGHT = "(x * 2.0).clamp_(min=0)"
WRONG = "x * 2.0"


def write_suite(root: Path, files: dict[str, str]) -> Path:
    """A suite with one problem, `double`, and `files`: name to text."""
    (root / "problems").mkdir(parents=True)
    (root / "problems" / "double.py").write_text(PROBLEM)
    folder = root / "solutions" / "double"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return root


def solution(expect: str, returns: str = RIGHT) -> str:
    return SOLUTION.format(expect=expect, returns=returns)


def make_specimen(name: str = "memo_by_pointer", expect: str = "incorrect / values", **fields: Any) -> Specimen:
    basis: dict[str, Any] = {
        "problem": "softmax", "name": name, "path": Path(f"{name}.py"), "needs_cuda": False,
        "group": name.removeprefix("honest_").partition("_")[0], "is_twin": name.startswith("honest_"),
        "expectation": parse_expectation(expect),
    }  # fmt: skip
    return Specimen(**(basis | fields))


def record_of(specimen: Specimen, status: Any, **fields: Any) -> Record:
    return make_record(specimen.id, status=Status(status), **fields)


def make_finding(name: str, expect: str, status: Any, *, seconds: float | None = None, **fields: Any) -> Finding:
    specimen = make_specimen(name, expect)
    return examine(specimen, record_of(specimen, status, **fields), seconds)
