"""What a build's key knows of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kbench.build import toolchain
from kbench.build.toolchain import Toolchain, detect, find_cuda_home


def make_home(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "nvcc").touch()
    (path / "include").mkdir()
    (path / "include" / "cuda_runtime.h").touch()
    return path


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Programs that answer `--version`, by name; others do not exist."""
    answers = {"c++": "c++ (Debian) 12.2.0\nCopyright (C) 2022", "nvcc": "nvcc: NVIDIA\nBuild cuda_13.0.r13.0\n"}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        name = Path(command[0]).name
        if name not in answers:
            raise FileNotFoundError(name)
        return subprocess.CompletedProcess(command, 0, stdout=answers[name], stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    return answers


@pytest.mark.usefixtures("said")
def test_facts_name_compilers_torch_and_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_HOME", str(make_home(tmp_path / "cuda")))
    found = detect(cuda_arch="8.0")
    assert found.facts["cxx"] == "c++ (Debian) 12.2.0"
    assert found.facts["nvcc"] == "Build cuda_13.0.r13.0"
    assert found.facts["cuda_arch"] == "8.0"
    assert found.environment() == {"TORCH_CUDA_ARCH_LIST": "8.0", "CUDA_HOME": str(tmp_path / "cuda")}


@pytest.mark.parametrize(
    ("tool", "version"), [("c++", "c++ (Debian) 13.1.0\n"), ("nvcc", "nvcc: NVIDIA\nBuild cuda_13.1.r13.1\n")]
)
def test_another_compiler_makes_other_facts(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: str, version: str
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(make_home(tmp_path)))
    before = detect(cuda_arch=None).facts
    said[tool] = version
    assert detect(cuda_arch=None).facts != before


def test_the_compiler_that_is_named_is_asked(said: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    said["clang++"] = "clang version 19\n"
    monkeypatch.setenv("CXX", "clang++")
    assert detect(cuda_arch=None).facts["cxx"] == "clang version 19"


@pytest.mark.usefixtures("said")
def test_without_a_gpu_there_is_a_target_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_cuda_home", lambda: None)
    found = detect(cuda_arch=None)
    assert found.environment() == {"TORCH_CUDA_ARCH_LIST": toolchain.DEFAULT_CUDA_ARCH}
    assert found.facts["nvcc"] == ""


def test_a_compiler_that_is_not_there_is_an_empty_fact(said: dict[str, str]) -> None:
    said.clear()
    assert detect(cuda_arch=None).facts["cxx"] == ""


@pytest.mark.usefixtures("said")
def test_the_variable_comes_before_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named, on_path = make_home(tmp_path / "named"), make_home(tmp_path / "path")
    monkeypatch.setattr(shutil, "which", lambda _: str(on_path / "bin" / "nvcc"))
    monkeypatch.setenv("CUDA_HOME", str(named))
    assert find_cuda_home() == str(named)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    assert find_cuda_home() == str(on_path)


def test_an_environment_without_cuda_names_none() -> None:
    assert "CUDA_HOME" not in Toolchain(cuda_home=None, cuda_arch="9.0").environment()


@pytest.mark.usefixtures("said")
def test_a_script_on_the_path_that_only_calls_nvcc_is_no_toolkit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").touch()
    named = make_home(tmp_path / "named")
    monkeypatch.setattr(shutil, "which", lambda _: str(tmp_path / "bin" / "nvcc"))
    monkeypatch.setenv("CUDA_HOME", str(named))
    assert find_cuda_home() == str(named)
    monkeypatch.delenv("CUDA_HOME")
    assert find_cuda_home() != str(tmp_path)
