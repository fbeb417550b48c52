"""Which devices and tools a candidate's text asks for."""

from __future__ import annotations

import pytest

from kbench.model import Device
from kbench.plan.source import SourceFacts, read_facts

CPU, CUDA, BOTH = frozenset({Device.CPU}), frozenset({Device.CUDA}), frozenset(Device)
INLINE = "from torch.utils.cpp_extension import load_inline\n"
LOAD = "from torch.utils.cpp_extension import load\n"


def facts(text: str) -> SourceFacts:
    read = read_facts(text)
    assert read.parses, read.syntax_error
    return read


@pytest.mark.parametrize(
    "text",
    [
        INLINE + "m = load_inline(name='x', cpp_sources=cpp, cuda_sources=src)",
        INLINE + "m = load_inline('x', cpp, src)",
        INLINE + "m = load_inline('x', [], cuda_sources=[a, b])",
        INLINE + "m = load_inline('x', cpp, with_cuda=True)",
        INLINE + "options = {'cuda_sources': src}\nm = load_inline(name='x', **options)",
        INLINE + "def build():\n    return load_inline('x', cpp, src)",
        "from torch.utils.cpp_extension import load_inline as li\nm = li('x', cpp, src)",
        "import torch\nm = torch.utils.cpp_extension.load_inline('x', cpp, src)",
        "import torch.utils.cpp_extension as ext\nm = ext.load_inline('x', cpp, src)",
        "from torch.utils import cpp_extension as ce\nm = ce.load('x', ['a.cpp', 'b.cu'])",
        LOAD + "sources = ['kernel.cu']\nm = load('x', sources)",
        "from torch.utils.cpp_extension import CUDAExtension\ne = CUDAExtension('x', ['a.cpp'])",
    ],
)
def test_a_build_with_cuda_sources_needs_cuda_and_nvcc(text: str) -> None:
    read = facts(text)
    assert (read.devices, read.uses_cuda, read.uses_extension, read.uses_nvcc) == (CUDA, True, True, True)


@pytest.mark.parametrize(
    "text",
    [
        INLINE + "m = load_inline(name='x', cpp_sources=cpp)",
        INLINE + "m = load_inline(name='x', cpp_sources=cpp, cuda_sources='')",
        INLINE + "m = load_inline(name='x', cpp_sources=cpp, cuda_sources=None, with_cuda=False)",
        INLINE + "m = load_inline(name='cuda', cpp_sources=cpp)",
        LOAD + "m = load('x', ['a.cpp'])",
        "from torch.utils.cpp_extension import CppExtension\ne = CppExtension('x', ['a.cpp'])",
    ],
)
def test_a_build_of_cpp_alone_is_for_the_cpu(text: str) -> None:
    read = facts(text)
    assert (read.devices, read.uses_cuda, read.uses_extension, read.uses_nvcc) == (CPU, False, True, False)


@pytest.mark.parametrize(
    "text",
    [
        "import triton\nimport triton.language as tl",
        "from triton.language import load",
        "from numba import cuda",
        "import cupy as cp",
        "x = y.cuda()",
        "x = torch.empty(3, device='cuda')",
        "x = y.to('cuda:1')",
        "d = torch.device('cuda')",
    ],
)
def test_code_that_names_cuda_needs_it_but_builds_nothing(text: str) -> None:
    read = facts(text)
    assert (read.devices, read.uses_cuda, read.uses_extension) == (CUDA, True, False)


@pytest.mark.parametrize(
    "text",
    [
        "import torch\nclass ModelNew(torch.nn.Module):\n    '''Runs on cuda. Call .cuda() first.'''",
        "# x.cuda()\nnote = 'cuda'",
        "d = torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "if torch.cuda.is_available():\n    x = y.cuda()",
        "if x.is_cuda:\n    y = torch.empty(3, device='cuda')",
        "if x.device.type == 'cuda':\n    y = x.to('cuda')",
        "try:\n    import triton\nexcept ImportError:\n    triton = None",
        "if __name__ == '__main__':\n    model = ModelNew().cuda()",
        "def get_inputs():\n    return [torch.rand(3).cuda()]\ndef get_init_inputs():\n    return ['cuda']",
        "import torch, json\nw = torch.load('w.cu')\nj = json.load(f)",
        INLINE + "if torch.cuda.is_available():\n    m = load_inline('x', cpp, src)",
        INLINE
        + "m = load_inline('x', cpp)\nif torch.cuda.is_available():\n    n = load_inline('y', cpp, src)",
    ],
)
def test_plain_torch_and_code_with_a_way_round_cuda_run_on_both(text: str) -> None:
    read = facts(text)
    assert (read.devices, read.uses_cuda, read.uses_nvcc) == (BOTH, False, False)


def test_what_stands_after_a_main_guard_still_counts() -> None:
    assert facts("if __name__ == '__main__':\n    pass\nelse:\n    x = y.cuda()").devices == CUDA
    assert facts("try:\n    pass\nfinally:\n    x = y.cuda()").devices == CUDA
