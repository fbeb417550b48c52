"""Listing GPUs, on a driver that is not there."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import InfraError, NothingToDo, UsageError
from kbench.machine import gpus
from kbench.machine.gpus import Gpu

A = Gpu(name="NVIDIA H200", driver="580.1", memory_gb=139.8, uuid="GPU-aaaa", capability="9.0", node="/dev/nvidia0")
B = Gpu(
    name="NVIDIA H100", driver="580.1", memory_gb=79.6, uuid="GPU-bbbb", capability="9.0", node="/dev/nvidia5", place=1
)


class FakeNvml:
    """NVML's functions as ctypes would call them, answering with the given boards."""

    def __init__(self, boards: tuple[Gpu, ...], *, failing: str = "") -> None:
        self.boards = boards
        self.failing = failing
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        answer = getattr(type(self), f"_{name}", None)
        if answer is None:
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == self.failing:
                return 999
            answer(self, *arguments)
            return 0

        return call

    def _nvmlInit_v2(self) -> None: ...

    def _nvmlShutdown(self) -> None: ...

    def _nvmlDeviceGetCount_v2(self, count: Any) -> None:
        count._obj.value = len(self.boards)

    def _nvmlSystemGetDriverVersion(self, buffer: Any, _size: ctypes.c_uint) -> None:
        buffer.value = self.boards[0].driver.encode()

    def _nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Any) -> None:
        handle._obj.value = 1000 + index.value

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> None:
        memory._obj.total = int(self._board(handle).memory_gb * 2**30)

    def _nvmlDeviceGetName(self, handle: Any, buffer: Any, _size: ctypes.c_uint) -> None:
        buffer.value = self._board(handle).name.encode()

    def _nvmlDeviceGetUUID(self, handle: Any, buffer: Any, _size: ctypes.c_uint) -> None:
        buffer.value = self._board(handle).uuid.encode()

    def _nvmlDeviceGetMinorNumber(self, handle: Any, minor: Any) -> None:
        minor._obj.value = int(self._board(handle).node.removeprefix("/dev/nvidia"))

    def _nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> None:
        major._obj.value, minor._obj.value = (int(part) for part in self._board(handle).capability.split("."))

    def _board(self, handle: Any) -> Gpu:
        index: int = handle.value - 1000
        return self.boards[index]


def test_nvml_lists_every_board() -> None:
    library = FakeNvml((A, B))
    assert gpus.read_nvml(library) == (A, B)
    assert library.calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize("failing", ["nvmlInit_v2", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetCount_v2"])
def test_a_driver_that_fails_is_asked_through_nvidia_smi(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: FakeNvml((A,), failing=failing))
    monkeypatch.setattr(gpus, "_from_smi", lambda _env: (B,))
    assert gpus.find_gpus({}) == ((B,), 0)


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert gpus.find_gpus({"PATH": "/nonexistent"}) == ((), 0)


def test_hidden_gpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: FakeNvml((A, B)))
    assert gpus.find_gpus({"CUDA_VISIBLE_DEVICES": "1"}) == ((B,), 1)
    assert gpus.find_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ((), 2)


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        (None, (A, B)),
        ("0,1", (A, B)),
        ("1, 0", (B, A)),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", (A,)),
        ("0,7,1", (A,)),
        ("GPU-bb", (B,)),
        ("GPU-none", ()),
        ("MIG-1234", (dataclasses.replace(A, uuid="MIG-1234", node=""),)),
    ],
)
def test_visible_devices_as_cuda_reads_them(setting: str | None, shown: tuple[Gpu, ...]) -> None:
    assert gpus.visible((A, B), setting) == shown


def test_a_chosen_gpu_is_the_only_one_seen() -> None:
    env = {"CUDA_VISIBLE_DEVICES": "1,0"}
    gpus.see_only(gpus.visible((A, B), env["CUDA_VISIBLE_DEVICES"])[1], env, of=2)
    assert gpus.visible((A, B), env["CUDA_VISIBLE_DEVICES"]) == (A,)


def test_a_lonely_gpu_needs_no_name_and_one_of_several_does() -> None:
    env: dict[str, str] = {}
    nameless = dataclasses.replace(A, uuid="")
    gpus.see_only(nameless, env, of=1)
    with pytest.raises(InfraError, match="cannot be chosen"):
        gpus.see_only(nameless, env, of=2)
    assert env == {}


def test_several_gpus_are_taken_from_the_chosen_one_on() -> None:
    more = tuple(dataclasses.replace(A, uuid=f"GPU-{name}") for name in "abcd")
    assert gpus.take(more, 1, 2) == more[1:3]
    assert gpus.take(more, 1, None) == more[1:]
    with pytest.raises(NothingToDo, match="5 GPUs are not here"):
        gpus.take(more, 0, 5)


def test_gpus_of_one_run_are_alike() -> None:
    with pytest.raises(UsageError, match="alike"):
        gpus.take((A, B), 0, None)
    assert gpus.take((A, B), 1, 1) == (B,)


def test_a_driver_that_tells_no_node_is_fine() -> None:
    library = FakeNvml((A,), failing="nvmlDeviceGetMinorNumber")
    assert gpus.read_nvml(library) == (dataclasses.replace(A, node=""),)


def test_the_nodes_of_all_other_gpus(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia3", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null"):
        (tmp_path / name).touch()
    gpu = dataclasses.replace(A, node=str(tmp_path / "nvidia3"))
    assert gpus.other_nodes(gpu, tmp_path) == (str(tmp_path / "nvidia0"), str(tmp_path / "nvidia12"))
    for unknown in ("", str(tmp_path / "nvidia4")):
        assert gpus.other_nodes(dataclasses.replace(A, node=unknown), tmp_path) == ()


def test_smi_output() -> None:
    output = "NVIDIA H200, 580.1, 143771, GPU-x, 9.0\nnonsense\nNVIDIA H100, 580.1, [N/A], GPU-y, 9.0\n"
    found = Gpu(name="NVIDIA H200", driver="580.1", memory_gb=140.4, uuid="GPU-x", capability="9.0")
    assert gpus.parse_smi(output) == (found,)
    assert gpus.parse_smi(output.replace("9.0", "[N/A]"))[0].capability == ""
