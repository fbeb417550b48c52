"""ptxas' account: as cuobjdump prints it, and as it stands in the machine code itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kbench.build.account import demangled, execute, one_name, parse_usage
from kbench.build.cubin import read_cubins
from kbench.build.toolchain import find_cuda_home
from kbench.profile.summary import plain_name

USAGE = """
Fatbin elf code:
================
arch = sm_90
code version = [1,8]
host = linux

Resource usage:
 Common:
  GLOBAL:0
 Function _Z6spillyPKfPf:
  REG:64 STACK:616 SHARED:0 LOCAL:0 CONSTANT[0]:544 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z5fusedPf:
  REG:40 STACK:400 SHARED:1216 LOCAL:8 CONSTANT[0]:548 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SOURCE = """
namespace {
template <typename T, int N> __global__ void fused(const T* a, T* b, int n) {
  __shared__ T s[N];
  T many[100];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int k = 0; k < 100; k++) many[k] = a[k * n + i];
  s[threadIdx.x] = a[i];
  __syncthreads();
  b[i] = s[(threadIdx.x + 1) % N] + many[n % 100];
}
}
__global__ void plain(float* a) { a[threadIdx.x] = 1.f; }
extern "C" void go(float* a, float* b) { fused<float, 256><<<1, 256>>>(a, b, 5); plain<<<1, 32>>>(a); }
"""


def test_every_function_of_cuobjdump_is_read() -> None:
    first, second = parse_usage(USAGE)
    assert first == {
        "mangled": "_Z6spillyPKfPf", "registers": 64, "stack_bytes": 616, "local_bytes": 0, "shared_bytes": 0,
    }  # fmt: skip
    assert (second["registers"], second["shared_bytes"], second["local_bytes"]) == (40, 192, 8)  # CUDA's KiB left out
    _, older = parse_usage(USAGE.replace("sm_90", "sm_75"))
    assert older["shared_bytes"] == 1216


def test_demanglers_agree_about_an_anonymous_namespace() -> None:
    ours, theirs = one_name("<unnamed>::fused(float *)"), "void (anonymous namespace)::fused<float>(float*)"
    assert plain_name(ours) == plain_name(theirs) == "unnamed::fused"


@pytest.mark.parametrize(
    "text",
    ["", "cuobjdump fatal   : not an ELF", USAGE.replace("REG:", "REGS "), USAGE.replace(" Function", " Funktion"),
     "REG:1 STACK:2 SHARED:3 LOCAL:4"],
)  # fmt: skip
def test_another_form_says_nothing(text: str) -> None:
    assert list(parse_usage(text)) == []


def test_without_a_demangler_names_stay(tmp_path: Path) -> None:
    assert demangled(["_Z1fv"], None) == ["_Z1fv"]
    assert demangled(["_Z1fv"], str(tmp_path / "missing")) == ["_Z1fv"]


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="needs c++filt")
def test_names_are_as_in_the_source() -> None:
    assert demangled(["_Z6spillyPKfPf", "no name"], shutil.which("c++filt")) == [
        "spilly(float const*, float*)", "no name",
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["sm_80", "sm_90"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A built library, and what ptxas said while it was built."""
    home = find_cuda_home()
    if home is None:
        pytest.skip("needs nvcc")
    folder = tmp_path_factory.mktemp("cubin")
    (folder / "a.cu").write_text(SOURCE)
    command = [
        f"{home}/bin/nvcc", f"-arch={request.param}", "-Xptxas=-v", "-Xcompiler=-fPIC", "-c", "a.cu", "-o", "a.so",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return (folder / "a.so").read_bytes(), done.stdout + done.stderr


def test_the_machine_code_says_what_ptxas_said(compiled: tuple[bytes, str]) -> None:
    library, said = compiled
    found = {kernel["mangled"]: kernel for kernel in read_cubins(library)}
    blocks = re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry|\Z)", said, flags=re.DOTALL)
    assert found.keys() == {name for name, _ in blocks}
    assert len(found) == 2
    for name, block in blocks:
        assert found[name] == {
            "mangled": name,
            "registers": _number(r"Used (\d+) registers", block),
            "stack_bytes": _number(r"(\d+) bytes stack frame", block),
            "shared_bytes": _number(r"(\d+) bytes smem", block),
        }
    assert {kernel["stack_bytes"] for kernel in found.values()} == {0, 400}
    assert {kernel["shared_bytes"] for kernel in found.values()} == {0, 1024}


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match[1]) if match else 0


def test_damaged_machine_code_is_left_out(compiled: tuple[bytes, str]) -> None:
    library, _ = compiled
    start = library.index(b"\x7fELF", 4)
    for length in (4, 20, 64, 500, 5000):
        assert list(read_cubins(library[: start + length])) == []
    assert list(read_cubins(b"\x7fELF\x02\x01" + b"\xff" * 4000)) == []


def _account(tmp_path: Path, compiled: tuple[bytes, str], cuobjdump: str | None) -> list[dict[str, Any]]:
    (tmp_path / "built" / "x").mkdir(parents=True)
    (tmp_path / "built" / "x" / "ext.so").write_bytes(compiled[0])
    task = {
        "libraries": str(tmp_path / "built"), "cuobjdump": cuobjdump, "demangler": shutil.which("c++filt"),
        "answer": str(tmp_path / "answer"),
    }  # fmt: skip
    execute(task, ())
    return [json.loads(line) for line in (tmp_path / "answer").read_text().splitlines()]


def test_the_account_of_a_build(tmp_path: Path, compiled: tuple[bytes, str]) -> None:
    lines = _account(tmp_path, compiled, None)
    assert {line["library"] for line in lines} == {"ext.so"}
    if shutil.which("c++filt"):
        name = "void (anonymous namespace)::fused<float, 256>(float const*, float*, int)"
        assert {line["name"] for line in lines} == {name, "plain(float*)"}


def test_cuobjdump_is_asked_first(tmp_path: Path, compiled: tuple[bytes, str]) -> None:
    tool = tmp_path / "cuobjdump"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{USAGE}\nEND\n")
    tool.chmod(0o755)
    assert [line["mangled"] for line in _account(tmp_path, compiled, str(tool))] == ["_Z6spillyPKfPf", "_Z5fusedPf"]


def test_a_cuobjdump_that_fails_is_stood_in_for(tmp_path: Path, compiled: tuple[bytes, str]) -> None:
    assert len(_account(tmp_path, compiled, str(tmp_path / "missing"))) == 2
