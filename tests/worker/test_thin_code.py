"""Thin headers and torch's own make the same machine code. Needs nvcc; the GPU is for those that take longer."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
from torch.utils import cpp_extension

from kbench.build.cubin import _Cubin, read_cubins
from kbench.build.toolchain import find_cuda_home
from kbench.machine.environment import probe
from kbench.worker.extensions import _GENERATED_HEADER
from kbench.worker.thin import thin_headers

ROOT = Path(__file__).parents[2]
HOME = find_cuda_home()
AVAILABLE = probe()
ON_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not AVAILABLE.cuda, reason=f"needs CUDA: {AVAILABLE.why_no_cuda}")]
pytestmark = pytest.mark.skipif(HOME is None, reason="needs nvcc")
SOLUTIONS = [
    "conv2d_batchnorm_scaling",
    pytest.param("conv2d_add_scale_sigmoid_groupnorm", marks=ON_CUDA),
    pytest.param("conv2d_groupnorm_scale_maxpool_clamp", marks=ON_CUDA),
]


def device_source(solution: Path) -> str:
    """What load_inline would hand to nvcc."""
    literals = [n.value for n in ast.walk(ast.parse(solution.read_text())) if isinstance(n, ast.Constant)]
    (kernel,) = (text for text in literals if isinstance(text, str) and "__global__" in text)
    return f"#include <torch/types.h>\n#include <cuda.h>\n#include <cuda_runtime.h>\n{kernel}"


_OF_A_KERNEL = (".text.", ".rela.text.", ".nv.constant0.")
"""Its instructions, what they refer to, its constants."""


def compiled(source: Path, into: Path, *first: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """What is each kernel's own, and their resources, with the folders of `first` searched before torch's.

    Torch's headers also bring some names of libcu++'s that no kernel refers to, 28 bytes of global memory.
    """
    folders = [*cpp_extension.include_paths(), f"{HOME}/include"]
    if not (Path(folders[0]) / _GENERATED_HEADER).exists():  # a torch without CUDA
        generated = into.with_name("generated") / _GENERATED_HEADER
        generated.parent.mkdir(parents=True, exist_ok=True)
        generated.write_text("#pragma once\n#define C10_CUDA_BUILD_SHARED_LIBS\n")
        folders.append(str(into.with_name("generated")))
    command = [
        f"{HOME}/bin/nvcc", "-cubin", "-arch=sm_90", "-O3", "-std=c++20", "--expt-relaxed-constexpr",
        *(f"-I{folder}" for folder in first), *(part for folder in folders for part in ("-isystem", folder)),
        str(source), "-o", str(into),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=600)
    cubin = into.read_bytes()
    sections = _Cubin(cubin, 0)._sections
    own = {name: cubin[at : at + size] for name, at, size, _ in sections if name.startswith(_OF_A_KERNEL)}
    return own, list(read_cubins(cubin))


@pytest.mark.parametrize("name", SOLUTIONS)
def test_thin_headers_change_nothing_of_a_kernel(tmp_path: Path, name: str) -> None:
    source = tmp_path / "k.cu"
    source.write_text(device_source(ROOT / "solutions" / name / "cuda_fused.py"))
    thin = tmp_path / "thin"
    for path, text in thin_headers(source.read_text(), Path(cpp_extension.include_paths()[0])).items():
        (thin / path).parent.mkdir(parents=True, exist_ok=True)
        (thin / path).write_text(text)
    stock, ours = compiled(source, tmp_path / "stock.cubin"), compiled(source, tmp_path / "thin.cubin", thin)
    own, resources = stock
    assert sum(len(code) for name, code in own.items() if name.startswith(".text.")) > 1000
    assert len(resources) == sum(name.startswith(".text.") for name in own) > 0
    assert ours == stock
