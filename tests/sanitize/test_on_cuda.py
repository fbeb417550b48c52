"""The four solutions beside this file, under the real tool: each must get what its docstring expects."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_process import read_records

from kbench.machine.environment import probe
from kbench.machine.tools import find_tool

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = Path(__file__).parent / "solutions"
EXPECTED = {
    path.stem: re.match(r'"""expect: (\w+)(?: / (\w+))?', path.read_text())
    for path in sorted(SOLUTIONS.glob("linear_relu/*.py"))
}
KERNELS = {"writes_past_the_end": "relu_past", "races": "relu_race", "reads_unwritten_memory": "relu_unwritten"}
AVAILABLE = probe()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.workers,
    pytest.mark.skipif(not AVAILABLE.cuda, reason=f"needs CUDA: {AVAILABLE.why_no_cuda}"),
    pytest.mark.skipif(find_tool(os.environ) is None, reason="needs compute-sanitizer"),
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sanitize")
    command = [
        sys.executable, "-m", "kbench", "run", "tests/broken/problems/linear_relu.py", SOLUTIONS, "--device", "cuda",
        "--quick", "--sanitize", "--out", folder / "run", "--cache-dir", folder / "cache",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=1800)
    found = {record["solution"]: record for record in read_records(folder / "run")}
    assert set(found) == set(EXPECTED), done.stderr
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_each_gets_what_it_expects(name: str, records: dict[str, dict[str, Any]]) -> None:
    expected, record = EXPECTED[name], records[name]
    assert expected is not None
    said = f"{record['message']}; flags {record['flags']}"
    assert (record["status"], record["reason"]) == (expected[1], expected[2] or ""), said
    assert KERNELS.get(name, "") in record["message"], said
    if name in KERNELS:
        assert record["evidence"]["source"], said  # the build asks for line information
