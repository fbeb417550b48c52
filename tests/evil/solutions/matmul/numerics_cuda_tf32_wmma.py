"""expect: incorrect / values

A kernel of its own on the TF32 tensor cores, which no switch of torch's can forbid, where strict fp32 is asked for.
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = r"""
#include <mma.h>

using namespace nvcuda;

// One warp makes one 16 x 16 tile of the product, 8 columns of `a` at a time.
__global__ void product(const float* a, const float* b, float* c, int n, int k) {
  const int row = blockIdx.y * 16, column = blockIdx.x * 16;
  wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  for (int step = 0; step < k; step += 8) {
    wmma::load_matrix_sync(left, a + row * k + step, k);
    wmma::load_matrix_sync(right, b + step * n + column, n);
    for (int i = 0; i < left.num_elements; ++i) left.x[i] = wmma::__float_to_tf32(left.x[i]);
    for (int i = 0; i < right.num_elements; ++i) right.x[i] = wmma::__float_to_tf32(right.x[i]);
    wmma::mma_sync(sum, left, right, sum);
  }
  wmma::store_matrix_sync(c + row * n + column, sum, n, wmma::mem_row_major);
}

torch::Tensor tf32_product(torch::Tensor a, torch::Tensor b) {
  TORCH_CHECK(a.size(0) % 16 == 0 && b.size(1) % 16 == 0 && a.size(1) % 8 == 0, "whole tiles only");
  a = a.contiguous();
  b = b.contiguous();
  auto c = torch::empty({a.size(0), b.size(1)}, a.options());
  const dim3 tiles(b.size(1) / 16, a.size(0) / 16);
  product<<<tiles, 32>>>(a.data_ptr<float>(), b.data_ptr<float>(), c.data_ptr<float>(), b.size(1), a.size(1));
  TORCH_CHECK(cudaGetLastError() == cudaSuccess, "the launch failed");
  return c;
}
"""

_extension = load_inline(
    name="evil_suite_tf32_wmma",
    cpp_sources="torch::Tensor tf32_product(torch::Tensor a, torch::Tensor b);",
    cuda_sources=_CUDA,
    functions=["tf32_product"],
)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return _extension.tf32_product(a, b)
