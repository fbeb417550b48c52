"""Thin headers, made of the installed torch's. Whether they compile to the same machine code: test_thin_gpu.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch.utils import cpp_extension

from kbench.worker.thin import thin_headers

STOCK = Path(cpp_extension.include_paths()[0])
KERNEL = """
// relu is not named here, nor "tanh"
__global__ void k(float* x) { x[0] = 1; }
torch::Tensor f(torch::Tensor x) {
  auto y = torch::empty_like(x);
  at::add_out(y, x, x);
  y.sigmoid_();
  return at::softmax(y, 1);
}
"""


def operators(headers: dict[str, str]) -> set[str]:
    lines = headers["ATen/Functions.h"].splitlines()
    return {line[len("#include <ATen/ops/") : -len(".h>")] for line in lines if line.startswith("#include <ATen/ops/")}


def test_operators_that_a_text_names_stay_and_others_do_not() -> None:
    kept = operators(thin_headers(KERNEL, STOCK))
    assert {"empty_like", "add", "softmax"} <= kept
    assert not kept & {"relu", "tanh", "sigmoid", "conv2d", "nll_loss"}


def test_an_operator_keeps_all_its_overloads() -> None:
    header = thin_headers(KERNEL, STOCK)["ATen/ops/add.h"]
    stock = (STOCK / "ATen/ops/add.h").read_text()
    assert [line for line in header.splitlines() if "#include" not in line] == [
        line for line in stock.splitlines() if "#include" not in line
    ]


def test_factories_that_a_text_names_stay_and_others_do_not() -> None:
    (header,) = (text for path, text in thin_headers(KERNEL, STOCK).items() if "variable_factories" in path)
    assert "inline at::Tensor empty_like(" in header
    assert "inline at::Tensor zeros(" not in header
    assert "autograd/variable.h" not in header


@pytest.mark.parametrize(
    ("said", "path", "kept"),
    [
        ("torch::autograd::Variable v;", "torch/csrc/autograd/generated/variable_factories.h", "autograd/variable.h"),
        ("x.index({0, 1});", "ATen/ATen.h", "ATen/TensorIndexing.h"),
        ("using torch::indexing::Slice;", "ATen/ATen.h", "ATen/TensorIndexing.h"),
        ("at::globalContext();", "ATen/ATen.h", "ATen/Context.h"),
        ("c10::IValue v;", "ATen/ATen.h", "ATen/core/ivalue.h"),
        ("TORCH_LIBRARY(k, m) {}", "torch/types.h", "torch/library.h"),
        ("torch::tensor({1, 2});", "torch/csrc/autograd/generated/variable_factories.h", "TensorDataContainer.h"),
    ],
)
def test_what_a_text_speaks_of_is_there(said: str, path: str, kept: str) -> None:
    assert kept not in thin_headers(KERNEL, STOCK)[path]
    assert kept in thin_headers(KERNEL + said, STOCK)[path]


def test_a_tensors_methods_that_a_text_names_stay_with_their_declarations_and_others_go_with_theirs() -> None:
    header = thin_headers(KERNEL, STOCK)["ATen/core/TensorBody.h"]
    assert "at::Tensor & sigmoid_() const;" in header and "Tensor::sigmoid_() const {" in header
    assert "Tensor::relu() const" not in header and " relu() const;" not in header
    assert "at::Tensor contiguous(" in header or "Tensor contiguous(" in header  # called by what stays
    operators_of_methods = thin_headers(KERNEL, STOCK)["ATen/MethodOperators.h"]
    assert "<ATen/ops/sigmoid_ops.h>" in operators_of_methods
    assert "<ATen/ops/relu_ops.h>" not in operators_of_methods


def test_a_method_goes_whatever_defaults_its_arguments_have() -> None:
    stock, thin = (STOCK / "ATen/core/TensorBody.h").read_text(), thin_headers(KERNEL, STOCK)["ATen/core/TensorBody.h"]
    assert "weights={}" in stock and "Tensor::bincount(" in stock
    assert "Tensor bincount(" not in thin and "Tensor::bincount(" not in thin


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("complex", "c10::complex<float> z;"),
        ("complex", "x.scalar_type() == at::kComplexFloat;"),
        ("complex", "thrust::sort(p, q);"),
        ("Half", "at::kHalf;"),
        ("Half", "float y = __hadd(a, b);"),
        ("Half", "AT_DISPATCH_REDUCED_FLOATING_TYPES("),
        ("BFloat16", "__nv_bfloat16 z;"),
    ],
)
def test_numbers_that_a_text_speaks_of_keep_their_device_code(kind: str, said: str) -> None:
    path = f"torch/headeronly/util/{kind}.h"
    assert not re.search(r"^#if(def)? [^!\n]*__CUDACC__.*\n#include", thin_headers(KERNEL, STOCK)[path], re.MULTILINE)
    assert path not in thin_headers(KERNEL + said, STOCK)


def test_numbers_are_the_same_on_the_host() -> None:
    for path in ("torch/headeronly/util/Half.h", "torch/headeronly/util/BFloat16.h"):
        thin, stock = thin_headers(KERNEL, STOCK)[path], (STOCK / path).read_text()
        assert thin.count("\n") == stock.count("\n")
        assert thin.count("!defined(__CUDACC__)") == stock.count("!defined(__CUDACC__)")


def test_no_method_is_declared_that_is_not_defined() -> None:
    declared = re.compile(r"^  [^\n;(/]*\b(\w+)\([^\n{]*\) const;\n", re.MULTILINE)
    stock, thin = (STOCK / "ATen/core/TensorBody.h").read_text(), thin_headers(KERNEL, STOCK)["ATen/core/TensorBody.h"]

    def undefined(header: str) -> set[str]:
        return {name for name in declared.findall(header) if f"Tensor::{name}(" not in header}

    assert undefined(thin) <= undefined(stock)
    assert len(declared.findall(thin)) < len(declared.findall(stock)) / 2


@pytest.mark.parametrize("header", ["ATen/native/cuda/Loops.cuh", "torch/csrc/autograd/variable.h", "ATen/Parallel.h"])
def test_further_headers_of_torchs_get_the_whole_class(header: str) -> None:
    assert "ATen/core/TensorBody.h" not in thin_headers(f"#include <{header}>\n{KERNEL}", STOCK)


def test_lists_of_tensors_need_the_stock_guard() -> None:
    assert "ListRef" not in thin_headers(KERNEL, STOCK)["ATen/DeviceGuard.h"]
    assert "ATen/DeviceGuard.h" not in thin_headers(KERNEL + "at::cat({x, y});", STOCK)


def test_a_text_with_files_of_its_own_gets_stock_headers_but_for_the_frontend() -> None:
    assert list(thin_headers('#include "mine.h"\n' + KERNEL, STOCK)) == ["torch/extension.h"]


def test_a_torch_laid_out_otherwise_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        thin_headers(KERNEL, tmp_path)
