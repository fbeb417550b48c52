"""Reading facts of a machine off texts and tools."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kbench.machine import inventory as machine
from kbench.machine.inventory import TorchBuild

MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n"


def test_the_inventory_of_this_machine_is_complete() -> None:
    inventory = machine.take_inventory()
    assert inventory.cpu_model
    assert inventory.cores >= 1
    assert inventory.memory_gb > 0
    assert inventory.python == ".".join(map(str, sys.version_info[:3]))
    assert inventory.torch is not None
    assert inventory.torch.version[0].isdecimal()


def test_nothing_imports_torch() -> None:
    code = (
        "import sys, kbench.plan.discover, kbench.config, kbench.cli.doctor, kbench.machine.inventory as m\n"
        "m.take_inventory()\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_environment_without_tools_has_none(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "CUDA_HOME": str(tmp_path), "CXX": "no-such-compiler"}
    assert machine.take_inventory(env).compiler is None


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        (
            "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC  9554   64-Core\nflags: x\n",
            "AMD EPYC 9554 64-Core",
        ),
        ("Hardware\t: BCM2835\n", "BCM2835"),
        ("", None),
        ("model name\t:\nflags\t: x\n", None),
    ],
)
def test_cpu_model(cpuinfo: str, model: str | None) -> None:
    assert machine.cpu_model(cpuinfo) == model


@pytest.mark.parametrize(
    ("cpuinfo", "known_by"),
    [
        (
            "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nstepping\t: 1\n\ncpu family\t: 6\nmodel\t: 1\n",
            "family 26, model 2, stepping 1",
        ),
        (
            "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n",
            "implementer 0x41, variant 0x1, part 0xd40",
        ),
        ("model name\t: AMD EPYC\n", None),
        ("", None),
    ],
    ids=["x86", "Arm", "a name alone", "nothing"],
)
def test_the_numbers_that_a_cpu_is_known_by(cpuinfo: str, known_by: str | None) -> None:
    assert machine.cpu_id(cpuinfo) == known_by


@pytest.mark.parametrize(
    ("limit", "gb"), [("max\n", 16.0), ("", 16.0), (f"{4 * 2**30}\n", 4.0), (f"{64 * 2**30}\n", 16.0)]
)
def test_memory_is_what_the_control_group_leaves(limit: str, gb: float) -> None:
    assert machine.memory_gb(MEMINFO, limit) == gb


def test_memory_of_an_unknown_machine() -> None:
    assert machine.memory_gb("", "") == 0.0
    assert machine.free_memory_gb("") is None
    assert machine.free_memory_gb(MEMINFO) == 8.0


@pytest.mark.parametrize(
    ("text", "build"),
    [
        (
            "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n",
            TorchBuild(version="2.13.0+cpu", cuda=None),
        ),
        ("__version__ = '2.11.0'\ncuda = '13.0'\nhip = None\n", TorchBuild(version="2.11.0", cuda="13.0")),
        ("cuda = '13.0'\n", None),
        ("", None),
        ("not python (", None),
    ],
)
def test_torch_build_is_read_as_text(text: str, build: TorchBuild | None) -> None:
    assert machine.parse_torch_build(text) == build


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright\n", "gcc 12.2.0"),
        ("g++-11 (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0\n", "gcc 11.4.0"),
        ("c++ (GCC) 14.2.1 20240912 (Red Hat 14.2.1-3)\n", "gcc 14.2.1"),
        ("Debian clang version 14.0.6\nInstalledDir: /usr/bin\n", "clang 14.0.6"),
        ("/opt/conda/bin/x86_64-conda-linux-gnu-c++ (conda-forge gcc 13.3.0-2) 13.3.0\n", "gcc 13.3.0"),
        ("", None),
    ],
)
def test_compiler_version_has_no_paths(output: str, version: str | None) -> None:
    assert machine.parse_compiler(output) == version


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0/x_0\n", "13.0.88"),
        ("Cuda compilation tools, release 12.4\n", "12.4"),
        ("", None),
    ],
)
def test_nvcc_version(output: str, version: str | None) -> None:
    assert machine.parse_nvcc(output) == version


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_tools_are_looked_for_as_torch_does(tmp_path: Path) -> None:
    script(tmp_path / "bin" / "my-cxx", "echo 'my-cxx (X) 9.9.9'")
    script(tmp_path / "bin" / "nvcc", "echo 'release 1.0, V1.0.1'")
    script(tmp_path / "cuda" / "bin" / "nvcc", "echo 'release 2.0, V2.0.2'")
    env = {"PATH": str(tmp_path / "bin"), "CXX": "my-cxx -O0"}
    found = machine.take_inventory(env)
    assert (found.compiler, found.nvcc) == ("gcc 9.9.9", "1.0.1")
    assert machine.take_inventory(env | {"CUDA_HOME": str(tmp_path / "cuda")}).nvcc == "2.0.2"


def test_a_tool_that_fails_is_not_there(tmp_path: Path) -> None:
    script(tmp_path / "bin" / "g++", "echo 'g++ (X) 9.9.9'; exit 1")
    assert machine.take_inventory({"PATH": str(tmp_path / "bin"), "CXX": "g++"}).compiler is None
