"""What the doctor concludes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from inventory_factory import CPU_TORCH, H200, TWO_GPUS

from kbench.machine.diagnose import Check, State, Storage, can_run, diagnose
from kbench.machine.inventory import TorchBuild

STORAGE = Storage(cache_dir="/cache", writable=True, free_disk_gb=100.0, free_memory_gb=64.0)


def check(name: str, *, layers: dict[str, str] | None = None, **changes: Any) -> Check:
    of_storage = {field.name for field in dataclasses.fields(Storage)}
    inventory = dataclasses.replace(TWO_GPUS, **{k: v for k, v in changes.items() if k not in of_storage})
    storage = dataclasses.replace(STORAGE, **{k: v for k, v in changes.items() if k in of_storage})
    (found,) = (c for c in diagnose(inventory, storage, layers or {}) if c.name == name)
    return found


def test_a_machine_with_everything_is_ok() -> None:
    checks = diagnose(TWO_GPUS, STORAGE, {"network": "on", "uid": "on"}, untold=())
    assert {c.state for c in checks} == {State.OK}
    assert not any(c.fix for c in checks)
    assert can_run(checks)


@pytest.mark.parametrize(
    ("name", "changes", "state", "detail", "runs"),
    [
        ("python", {"python": "3.10.1"}, State.MISSING, "3.10.1", False),
        ("torch", {"torch": None}, State.MISSING, "not installed", False),
        ("torch", {"torch": TorchBuild(version="2.8.1", cuda="13.0")}, State.MISSING, "2.8.1", False),
        (
            "torch",
            {"torch": CPU_TORCH},
            State.DEGRADED,
            "without CUDA",
            True,
        ),
        ("C++ compiler", {"compiler": None}, State.MISSING, "none of", False),
        ("ninja", {"ninja": None}, State.MISSING, "not found", False),
        ("nvcc", {"nvcc": None}, State.MISSING, "are skipped", True),
        ("nvcc", {"nvcc": "12.8.1"}, State.DEGRADED, "does not fit torch's CUDA 13.0", True),
        ("GPU", {"gpus": ()}, State.MISSING, "no NVIDIA GPU", True),
        ("GPU", {"gpus": (), "hidden_gpus": 1}, State.MISSING, "CUDA_VISIBLE_DEVICES hides 1", True),
        ("cache folder", {"writable": False}, State.DEGRADED, "not writable", True),
        ("free disk", {"free_disk_gb": 1.0}, State.DEGRADED, "1 GB, less than 5 GB", True),
        ("free disk", {"free_disk_gb": None}, State.DEGRADED, "unknown", True),
        ("free memory", {"free_memory_gb": 2.5}, State.DEGRADED, "2.5 GB, less than 4 GB", True),
        (
            "isolation: no new privs",
            {"layers": {"no_new_privs": "off: EPERM"}},
            State.DEGRADED,
            "EPERM",
            True,
        ),
    ],
)
def test_what_is_not_ok_says_so_and_how_to_mend_it(
    name: str, changes: dict[str, Any], state: State, detail: str, runs: bool
) -> None:
    found = check(name, **changes)
    assert found.state is state
    assert detail in found.detail
    assert found.fix
    assert can_run([found]) is runs


@pytest.mark.parametrize(
    ("name", "changes", "detail"),
    [
        ("torch", {"torch": CPU_TORCH, "gpus": ()}, "built without CUDA"),
        ("torch", {"torch": TorchBuild(version="2.10.0a0+git", cuda="13.0")}, "built for CUDA 13.0"),
        ("nvcc", {"torch": None}, "no CUDA build of torch"),
        ("nvcc", {"nvcc": "13.2.1"}, "13.2.1 (torch: CUDA 13.0)"),
        ("GPU", {"gpus": (H200, H200)}, "2 × NVIDIA H200, 139.8 GB, driver 580.1"),
    ],
)
def test_what_is_ok(name: str, changes: dict[str, Any], detail: str) -> None:
    found = check(name, **changes)
    assert (found.state, found.fix) == (State.OK, "")
    assert detail in found.detail


LAYERS_WITH_A_FIX_OF_THEIR_OWN = ("user_namespace", "uid", "proc", "read_only", "landlock", "seccomp")


def test_each_layer_is_mended_in_its_own_way() -> None:
    checks = diagnose(TWO_GPUS, STORAGE, dict.fromkeys((*LAYERS_WITH_A_FIX_OF_THEIR_OWN, "network"), "off: EPERM"))
    fixes = [c.fix for c in checks if c.name.startswith("isolation")]
    assert len(set(fixes)) == len(fixes) == len(LAYERS_WITH_A_FIX_OF_THEIR_OWN) + 1
    assert all("--require-isolation" in fix for fix in fixes)


def test_a_layer_that_is_not_needed_needs_no_fix() -> None:
    found = check("isolation: user namespace", layers={"user_namespace": "not needed: the worker has a uid of its own"})
    assert (found.state, found.fix) == (State.OK, "")
    assert "uid of its own" in found.detail


def test_a_version_that_is_none_is_too_old() -> None:
    assert check("torch", torch=TorchBuild(version="unknown", cuda=None)).state is State.MISSING


@pytest.mark.parametrize(
    ("untold", "state", "detail"),
    [
        ((), State.OK, "NVML gives clocks, power, temperature and throttle reasons"),
        (("power", "throttle reasons"), State.DEGRADED, "NVML gives no power, throttle reasons: "),
        (None, State.DEGRADED, "NVML gives nothing: "),
    ],
)
def test_the_telemetry_of_a_gpu(untold: tuple[str, ...] | None, state: State, detail: str) -> None:
    (found,) = (c for c in diagnose(TWO_GPUS, STORAGE, {}, untold=untold) if c.name == "telemetry")
    assert found.state is state
    assert found.detail.startswith(detail)
    assert bool(found.fix) == (state is not State.OK)


def test_without_a_gpu_there_is_no_telemetry_to_miss() -> None:
    without = dataclasses.replace(TWO_GPUS, gpus=())
    assert "telemetry" not in {c.name for c in diagnose(without, STORAGE, {})}
