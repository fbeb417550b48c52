"""The fingerprint of a machine, what it can run, and the device of a run."""

from __future__ import annotations

import dataclasses
import getpass
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from inventory_factory import CPU_TORCH, H100, H200, TWO_GPUS

from kbench.errors import NothingToDo, UsageError
from kbench.machine.environment import Available, describe, probe, resolve_device
from kbench.machine.inventory import Inventory, TorchBuild
from kbench.model import Device


def changed(**fields: Any) -> Inventory:
    return dataclasses.replace(TWO_GPUS, **fields)


def test_describe_has_what_a_run_records() -> None:
    described = describe(TWO_GPUS)
    assert list(described) == [
        *("key", "machine", "gpu", "python", "torch", "cuda", "compiler", "nvcc", "kbench"),
    ]
    assert described["gpu"] == {"name": "NVIDIA H200", "driver": "580.1", "memory_gb": 139.8, "count": 2}
    assert described["machine"]["cores"] == 16
    assert (described["torch"], described["cuda"], described["nvcc"]) == ("2.11.0", "13.0", "13.0.88")
    assert describe(changed(gpus=()))["gpu"] is None
    assert describe(changed(torch=None))["torch"] is None


def test_describe_of_this_machine_names_no_host_person_or_place() -> None:
    text = json.dumps(describe())
    words = [socket.gethostname(), str(Path.home()), str(Path.cwd()), getpass.getuser()]
    for word in words:
        assert f'"{word}' not in text
        assert len(word) < 5 or word not in text
    assert "/" not in json.dumps(describe(TWO_GPUS))
    assert "GPU-" not in json.dumps(describe(TWO_GPUS))


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu_model": "Intel"},
        {"cpu_id": "family 26, model 2, stepping 1"},
        {"cpu_id": None},
        {"cores": 8},
        {"gpus": (H100,)},
        {"gpus": ()},
        {"gpus": (dataclasses.replace(H200, driver="590"),)},
        {"torch": TorchBuild(version="2.12.0", cuda="13.0")},
        {"torch": TorchBuild(version="2.11.0", cuda="12.8")},
        {"nvcc": "13.1.1"},
        {"compiler": "gcc 13.0.0"},
        {"python": "3.12.7"},
    ],
)
def test_the_key_changes_with_what_moves_a_timing(fields: dict[str, Any]) -> None:
    assert describe(changed(**fields))["key"] != describe(TWO_GPUS)["key"]


@pytest.mark.parametrize(
    "fields",
    [
        {"python": "3.11.9"},
        {"memory_gb": 64.0},
        {"kernel": "6.9"},
        {"gpus": (H200,)},
        {"ninja": None},
        {"gpus": (dataclasses.replace(H200, uuid="GPU-other"), H100)},
    ],
)
def test_the_key_stays_with_what_does_not(fields: dict[str, Any]) -> None:
    assert describe(changed(**fields))["key"] == describe(TWO_GPUS)["key"]


def test_the_gpu_in_use_is_described() -> None:
    assert describe(TWO_GPUS, gpu=H100)["gpu"]["name"] == "NVIDIA H100"
    assert describe(TWO_GPUS, gpu=H100)["key"] != describe(TWO_GPUS)["key"]


def test_cuda_takes_a_gpu_and_a_torch_for_it() -> None:
    everything = probe(TWO_GPUS)
    assert everything == Available(cuda=True, cuda_devices=2, nvcc=True, compiler=True, torch=True)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"gpus": ()}, "no NVIDIA GPU or driver was found"),
        ({"gpus": (), "hidden_gpus": 2}, "CUDA_VISIBLE_DEVICES hides 2 GPU(s)"),
        ({"torch": CPU_TORCH}, "torch 2.13.0+cpu is built without CUDA"),
        ({"torch": None}, "torch is not installed"),
        (
            {"gpus": (), "torch": CPU_TORCH},
            "no NVIDIA GPU or driver was found and torch 2.13.0+cpu is built without CUDA",
        ),
    ],
)
def test_why_there_is_no_cuda(fields: dict[str, Any], why: str) -> None:
    available = probe(changed(**fields))
    assert (available.cuda, available.cuda_devices, available.why_no_cuda) == (False, 0, why)


def test_missing_tools_are_not_available() -> None:
    available = probe(changed(nvcc=None, compiler=None, torch=None))
    assert (available.nvcc, available.compiler, available.torch) == (False, False, False)


GPUS = probe(TWO_GPUS)
NO_GPU = probe(changed(gpus=()))


@pytest.mark.parametrize(
    ("text", "available", "device"),
    [
        ("auto", GPUS, (Device.CUDA, 0)),
        ("auto", NO_GPU, (Device.CPU, 0)),
        ("cpu", GPUS, (Device.CPU, 0)),
        ("cuda", GPUS, (Device.CUDA, 0)),
        ("cuda:1", GPUS, (Device.CUDA, 1)),
    ],
)
def test_resolve_device(text: str, available: Available, device: tuple[Device, int]) -> None:
    assert resolve_device(text, available) == device


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "", "cuda:99999999999"])
def test_an_unknown_device_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        resolve_device(text, GPUS)


def test_a_device_that_is_not_here_says_what_is_missing() -> None:
    with pytest.raises(NothingToDo, match="'cuda' is not available") as caught:
        resolve_device("cuda", NO_GPU)
    assert (caught.value.exit_code, caught.value.why) == (3, NO_GPU.why_no_cuda)
    assert "--device cpu" in str(caught.value.hint)
    with pytest.raises(NothingToDo) as caught:
        resolve_device("cuda:2", GPUS)
    assert caught.value.why == "there is: cuda:0, cuda:1"
