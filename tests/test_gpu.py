"""What only a GPU can show: shared device memory, real fused kernels, raw responses judged from their text files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kbench.machine import gpu_gauge
from kbench.machine.environment import probe
from kbench.machine.gpus import find_gpus
from kbench.machine.telemetry import open_gauge

ROOT = Path(__file__).parents[1]
AVAILABLE = probe()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.workers,
    pytest.mark.skipif(not AVAILABLE.cuda, reason=f"needs CUDA: {AVAILABLE.why_no_cuda}"),
]


PROBLEM = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)

def get_inputs():
    return [torch.randn(256, 1000)]

def get_init_inputs():
    return []
"""
SOLUTION = """
import torch

class ModelNew(torch.nn.Module):
    def forward(self, x):
        assert torch.cuda.device_count() == 1
        e = torch.exp(x - x.amax(1, keepdim=True))
        return e / e.sum(1, keepdim=True)
"""


GREEDY = """
import ctypes
import os

os.environ.pop("CUDA_VISIBLE_DEVICES", None)
driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
assert driver.cuInit(0) == 0
assert driver.cuDeviceGetCount(ctypes.byref(count)) == 0
assert count.value == 1, f"{count.value} GPUs to be had"
"""
"""Wants all GPUs, whatever the environment says, and looks how many the driver gives it."""


def kbench_run(*arguments: object, out: Path, device: str = "cuda") -> tuple[int, dict[str, dict[str, Any]]]:
    """`kbench run` in a process of its own: exit code, and its records by solution name or id."""
    command = [sys.executable, "-m", "kbench", "run", *map(str, arguments), "--device", device, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    lines = (out / "records.jsonl").read_text().splitlines()
    assert lines, done.stderr
    return done.returncode, {f"{r['problem']}/{r['solution']}": r for r in map(json.loads, lines)}


def test_the_fused_solutions_are_correct_at_the_small_size(tmp_path: Path) -> None:
    founders = "cuda_fused and (conv2d_add or conv2d_batchnorm or conv2d_groupnorm)"
    options = ("-k", founders, "--size", "small", "--quick", "--cache-dir", tmp_path / "c")
    code, records = kbench_run("problems", "solutions", *options, out=tmp_path / "r")
    assert {name: record["status"] for name, record in records.items()} == dict.fromkeys(records, "correct")
    assert code == 0
    assert len(records) == 3
    for record in records.values():
        assert record["speedup_low"] <= record["speedup"] <= record["speedup_high"]
        assert record["verified_calls"] >= 3
        assert record["flags"] == []


@pytest.mark.skipif(AVAILABLE.cuda_devices < 2, reason="needs a second GPU")
def test_the_last_of_several_gpus_serves_as_well_and_is_the_only_one_to_be_had(tmp_path: Path) -> None:
    (tmp_path / "row.py").write_text(PROBLEM)
    (tmp_path / "mine.py").write_text(GREEDY + SOLUTION)
    last = f"cuda:{AVAILABLE.cuda_devices - 1}"
    code, records = kbench_run(tmp_path / "row.py", tmp_path / "mine.py", "--quick", device=last, out=tmp_path / "r")
    assert (code, [record["status"] for record in records.values()]) == (0, ["correct"]), records


@pytest.mark.skipif(AVAILABLE.cuda_devices < 2, reason="needs a second GPU")
def test_several_gpus_share_the_work(tmp_path: Path) -> None:
    (tmp_path / "problems").mkdir()
    (tmp_path / "problems" / "row.py").write_text(PROBLEM)
    (tmp_path / "solutions" / "row").mkdir(parents=True)
    for number in range(6):
        (tmp_path / "solutions" / "row" / f"copy{number}.py").write_text(SOLUTION)
    code, records = kbench_run(
        tmp_path / "problems", tmp_path / "solutions", "--quick", "--gpus", "all", out=tmp_path / "r"
    )
    assert (code, [record["status"] for record in records.values()]) == (0, ["correct"] * 6), records


def test_right_and_wrong_are_told_apart_where_all_workers_are_fresh_too(tmp_path: Path) -> None:
    (tmp_path / "problems").mkdir()
    (tmp_path / "problems" / "row.py").write_text(PROBLEM)
    (tmp_path / "solutions" / "row").mkdir(parents=True)
    wrong = SOLUTION.replace("e / e.sum(1, keepdim=True)", "e")
    for name, text in {"a_right": SOLUTION, "b_wrong": wrong, "c_wrong": wrong, "d_right": SOLUTION}.items():
        (tmp_path / "solutions" / "row" / f"{name}.py").write_text(text)
    code, records = kbench_run(
        tmp_path / "problems", tmp_path / "solutions", "--replicates", "3", out=tmp_path / "r"
    )
    assert code == 1
    assert [r["status"] for _, r in sorted(records.items())] == ["correct", "incorrect", "incorrect", "correct"]
    assert all(len(record["replicate_log_ratios"]) == 3 for name, record in records.items() if "right" in name)


def test_a_file_that_uses_the_gpu_when_it_is_imported_is_judged_all_the_same(tmp_path: Path) -> None:
    """Builds see no GPU while something may be timed on it: such a file gets its import in a lane's own turn."""
    (tmp_path / "row.py").write_text(PROBLEM)
    (tmp_path / "mine.py").write_text(SOLUTION.replace("class", "ONE = torch.ones(1, device='cuda')\n\nclass"))
    code, records = kbench_run(tmp_path / "row.py", tmp_path / "mine.py", "--quick", out=tmp_path / "r")
    assert (code, [record["status"] for record in records.values()]) == (0, ["correct"]), records


RESPONSES = {
    "right": ("correct", "", ""),
    "running_statistics": ("incorrect", "values", "expected"),
    "undeclared_function": ("build_error", "compile", 'identifier "fused_scale_value" is undefined'),
    "cut_off": ("load_error", "no_candidate", "cut"),
    "example_usage": ("load_error", "import", "name 'in_channels' is not defined"),
}
LINES = {"undeclared_function": "if (i < n) y[i] = fused_scale_value", "example_usage": "model = ModelNew(in_channels"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("responses")
    problem = "problems/conv2d_batchnorm_scaling.py"
    responses = "tests/responses/conv2d_batchnorm_scaling"
    code, records = kbench_run(problem, responses, "--quick", "--cache-dir", folder / "c", out=folder / "r")
    assert code == 1
    return {name.rpartition("/")[2]: record for name, record in records.items()}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_raw_response_is_judged_from_its_text_file(name: str, judged: dict[str, dict[str, Any]]) -> None:
    status, reason, said = RESPONSES[name]
    record = judged[name]
    assert (record["status"], record["reason"]) == (status, reason), record["message"]
    assert said in record["message"]
    if name in LINES:
        text = (ROOT / "tests/responses/conv2d_batchnorm_scaling" / f"{name}.txt").read_text().splitlines()
        number = next(i for i, line in enumerate(text, start=1) if LINES[name] in line)
        assert f"{name}.txt:{number}" in record["message"]


def test_the_driver_tells_all_that_a_reading_asks_for() -> None:
    (gpu, *_), _ = find_gpus(os.environ)
    assert gpu_gauge.untold(gpu.uuid) == ()
    with open_gauge(gpu, own=lambda: (os.getpid(),)) as gauge:
        reading = gauge.read()
    assert reading is not None
    assert reading.sm_clock_mhz and 100 <= reading.sm_clock_mhz <= 5000
    assert reading.memory_clock_mhz and reading.temperature_c and 10 <= reading.temperature_c <= 100
    assert reading.power_w and reading.power_limit_w and 5 <= reading.power_w <= 1.2 * reading.power_limit_w


def test_a_run_keeps_a_reading_of_each_block_of_the_sides_by_turns(tmp_path: Path) -> None:
    (tmp_path / "row.py").write_text(PROBLEM)
    (tmp_path / "mine.py").write_text(SOLUTION)
    code, _ = kbench_run(tmp_path / "row.py", tmp_path / "mine.py", "--quick", out=tmp_path / "r")
    assert code == 0
    found = {
        name: [json.loads(line) for line in (tmp_path / "r" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("telemetry", "samples")
    }
    visits = {
        name: [(v["replicate"], v["block"], v["position"], v["side"]) for v in lines] for name, lines in found.items()
    }
    by_turns = [visit for visit in dict.fromkeys(visits["samples"]) if visit[2] == visit[1] % 2]
    assert visits["telemetry"] == by_turns and len(by_turns) == 3 * 5
    figures = {"sm_clock_mhz", "memory_clock_mhz", "power_w", "power_limit_w", "temperature_c", "reasons"}
    assert all(figures <= line.keys() for line in found["telemetry"])
    busy = [line["sm_clock_mhz"] for line in found["telemetry"] if "gpu_idle" not in line["reasons"]]
    assert busy, "every reading came too late to say anything about the clock"
