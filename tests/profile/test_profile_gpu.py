"""The real thing on a GPU: a fused solution's own kernels beside the reference's library kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kbench.machine.environment import probe
from kbench.machine.tools import find_tool

ROOT = Path(__file__).resolve().parents[2]
AVAILABLE = probe()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.workers,
    pytest.mark.skipif(not AVAILABLE.cuda, reason=f"needs CUDA: {AVAILABLE.why_no_cuda}"),
]
OWN = {"finish_channels", "normalise", "plane_moments"}


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    options = ["--ncu"] if find_tool(os.environ, "ncu") else []
    command = [
        sys.executable, "-m", "kbench", "profile", "problems/conv2d_batchnorm_scaling.py",
        "solutions/conv2d_batchnorm_scaling/cuda_fused.py", "--device", "cuda", "--size", "small", "--json",
        "--cache-dir", str(tmp_path_factory.mktemp("cache")), *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def kernel(name: str) -> str:
    return next((own for own in OWN if own in name), "")


def test_own_kernels_are_told_from_libraries(profile: dict[str, Any]) -> None:
    solution, reference = profile["sides"]
    own = [a for a in solution["activities"] if a["origin"] == "own"]
    assert {kernel(a["name"]) for a in own} == OWN
    assert all(a["calls"] == 1 and a["mean_us"] > 0 and len(a["grid"]) == 3 for a in own)
    assert any(a["origin"] == "library" and a["kind"] == "kernel" for a in solution["activities"])  # the convolution
    assert {a["origin"] for a in reference["activities"]} == {"library"}
    assert 0 < solution["own_share"] < 1


def test_the_account_agrees_with_the_launches(profile: dict[str, Any]) -> None:
    assert {kernel(r["name"]) for r in profile["resources"]} == OWN
    for activity in profile["sides"][0]["activities"]:
        if activity["origin"] == "own":
            assert activity["registers"] == activity["resources"]["registers"]


def test_the_bandwidth_is_possible(profile: dict[str, Any]) -> None:
    for side in profile["sides"]:
        assert 0 < side["bandwidth_share"] < 2  # small inputs may still lie in L2
    assert profile["work"]["bytes_per_s"] > 1e11


@pytest.mark.skipif(find_tool(os.environ, "ncu") is None, reason="needs ncu")
def test_ncu_measures_the_own_kernels_or_says_why_not(profile: dict[str, Any]) -> None:
    refused = [note for note in profile["notes"] if note.startswith("ncu measured nothing: ")]
    if refused:
        pytest.skip(refused[0])
    assert {kernel(section["name"]) for section in profile["sections"]} == OWN
    assert all(section["time_us"] > 0 and 0 < section["occupancy_percent"] <= 100 for section in profile["sections"])
