"""`kbench profile` through its command line: with real workers on the CPU, and building for CUDA without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_process import new_cache

from kbench.build.toolchain import find_cuda_home
from kbench.cli.main import run_cli
from kbench.errors import InfraError
from kbench.machine.environment import probe
from kbench.model import Status
from kbench.profile.answer import Failed
from kbench.profile.watch import verdict_of, verdict_without_answer
from kbench.sandbox.client import Ending

PROBLEM = """
import torch
import torch.nn as nn

rows = 64


class Model(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return torch.relu(x * self.scale)


def get_inputs():
    return [torch.randn(rows, 512)]


def get_init_inputs():
    return [512]
"""
HONEST = """
import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x):
        HERE
        return (x * self.scale).clamp_(min=0)
"""
PROFILED = "import os, sys\n        if 'kbench.profile.trace' in sys.modules: "
CUDA = '''
import torch
from torch.utils.cpp_extension import load_inline

SOURCE = """
#include <ATen/core/Tensor.h>
__global__ void rectify(const float* x, float* y, int n) {
  __shared__ float held[64];
  int i = blockIdx.x * 64 + threadIdx.x;
  held[threadIdx.x] = i < n ? x[i] : 0.f;
  __syncthreads();
  if (i < n) y[i] = fmaxf(held[threadIdx.x ^ 1], 0.f);
}
at::Tensor run(at::Tensor x) {
  at::Tensor y = x.clone();
  rectify<<<(x.numel() + 63) / 64, 64>>>(x.const_data_ptr<float>(), y.mutable_data_ptr<float>(), x.numel());
  return y;
}
"""
module = load_inline("rectify", "at::Tensor run(at::Tensor x);", SOURCE, functions=["run"])


class ModelNew(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(features))

    def forward(self, x):
        return module.run(x * self.scale)
'''


class Desk:
    """A folder with one problem, and `kbench profile` run on it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.cache, self._capsys = root, new_cache(root), capsys
        (root / "scale.py").write_text(PROBLEM)

    def profile(self, solution: str, *options: str) -> tuple[int, str, str]:
        (self.root / "mine.py").write_text(solution)
        given = ["profile", "scale.py", "mine.py", "--cache-dir", str(self.cache), *options]
        code = run_cli(given)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def as_json(self, solution: str, *options: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.profile(solution, "--json", *options)
        return code, json.loads(out)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KBENCH_LOCK_DIR", str(tmp_path))
    return Desk(tmp_path, capsys)


@pytest.mark.workers
def test_the_operators_of_both_sides(desk: Desk) -> None:
    code, data = desk.as_json(HONEST.replace("HERE", ""), "--device", "cpu")
    assert code == 0
    assert data["verdict"] is None
    solution, reference = ({a["name"]: a for a in side["activities"]} for side in data["sides"])
    assert "aten::clamp_" in solution
    assert "aten::relu" not in solution
    assert reference["aten::relu"]["calls"] == 1
    assert [side["name"] for side in data["sides"]] == ["solution", "reference"]
    for side in data["sides"]:
        assert sum(a["share"] for a in side["activities"]) == pytest.approx(1)
        assert side["bandwidth_share"] > 0
    assert data["notes"] == []
    assert data["work"]["least_bytes"] == 2 * 64 * 512 * 4 + 512 * 4


@pytest.mark.workers
def test_a_wrong_solution_is_profiled_and_said_to_be_wrong(desk: Desk) -> None:
    code, out, _ = desk.profile(HONEST.replace("HERE", "").replace(".clamp_(min=0)", ""), "--device", "cpu")
    assert code == 0
    assert "note: incorrect (values), profiled all the same" in out
    assert "aten::mul" in out


@pytest.mark.workers
@pytest.mark.parametrize(
    ("here", "status", "reason"),
    [
        ("raise ValueError('no')", "runtime_error", "exception"),
        (PROFILED + "raise ValueError('no')", "runtime_error", "exception"),
        (PROFILED + "os._exit(7)", "crash", "exited"),
        (PROFILED + "os.abort()", "crash", "SIGABRT"),
        (PROFILED + "os._exit(0)", "protocol_error", "malformed"),
        (PROFILED + "open(os.environ['TMPDIR'] + '/answer.jsonl', 'w').write('{}\\n'); os._exit(0)",
         "protocol_error", "malformed"),
    ],
    ids=["raises", "raises when profiled", "leaves", "aborts", "leaves as if well", "answers by itself"],
)  # fmt: skip
def test_a_solution_that_does_not_run_has_a_runs_verdict(here: str, status: str, reason: str, desk: Desk) -> None:
    code, data = desk.as_json(HONEST.replace("HERE", here), "--device", "cpu")
    assert code == 1
    assert (data["verdict"]["status"], data["verdict"]["reason"]) == (status, reason)
    assert data["sides"] == []


@pytest.mark.workers
def test_a_solution_that_does_not_load(desk: Desk) -> None:
    code, out, _ = desk.profile("import nothing_of_this_name\n", "--device", "cpu")
    assert code == 1
    assert "load_error: import" in out
    assert "mine.py:1" in out


def test_a_pair_that_cannot_run_here_is_undecided(desk: Desk) -> None:
    code, out, _ = desk.profile(CUDA, "--device", "cpu")
    assert (code, "skipped" in out) == (3, True)


def test_a_profile_is_of_one_pair(desk: Desk) -> None:
    folder = desk.root / "solutions" / "scale"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.py").write_text(HONEST)
    assert run_cli(["profile", "scale.py", "solutions", "--device", "cpu"]) == 2


@pytest.mark.workers
@pytest.mark.skipif(find_cuda_home() is None, reason="needs nvcc")
@pytest.mark.skipif(probe().cuda, reason="is about a machine without a GPU")
def test_without_a_gpu_the_kernels_account_is_shown(desk: Desk) -> None:
    code, out, _ = desk.profile(CUDA)
    assert code == 0
    row = next(line.split() for line in out.splitlines() if line.startswith("rectify"))
    assert int(row[1]) > 0
    assert row[2] == "0"
    assert int(row[4]) == 256
    assert "no GPU is here to run on" in out


def ending(**how: Any) -> Ending:
    told = {"exit_code": 0, "signal": None, "exceeded": "", "killed": False, "peak_bytes": 0, "output_dropped": 0}
    return Ending(**{**told, "setup_error": "", **how})


def test_how_a_process_ended_comes_before_what_it_left() -> None:
    cases = {
        Status.OUT_OF_MEMORY: ending(exceeded="memory", exit_code=None, signal=9),
        Status.CRASH: ending(exit_code=None, signal=11),
        Status.PROTOCOL_ERROR: ending(),
    }
    assert {verdict_without_answer(how, "nothing").status: how for how in cases.values()} == cases
    assert verdict_without_answer(ending(exit_code=None, signal=42), "nothing").reason == "signal 42"


def test_a_failure_of_our_own_is_not_the_solutions() -> None:
    assert verdict_of(Failed(stage="construct", error="a\nTypeError: b\n")).message.endswith("TypeError: b")
    with pytest.raises(InfraError):
        verdict_of(Failed(stage="set-up", error="x"))
