"""Weighted embedding bags on CUDA: one warp per bag.

The lanes of a warp load 32 indices and weights at once and hand them round; then the warp reads eight table rows at a
time, each lane 16 bytes of every row, so that many reads are on their way together. The sum stays in registers and is
written once.

Sound because the terms are added in the order in which they stand in the bag. An index outside of the table stops the
kernel, as torch's assertion does.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor embedding_bag_sum(at::Tensor table, at::Tensor indices, at::Tensor weights);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kWarps = 8;
constexpr int kAhead = 8;  // table rows that are read together
constexpr unsigned kAll = 0xffffffffu;

__device__ __forceinline__ void add(float& sum, float weight, float value) { sum = fmaf(weight, value, sum); }

__device__ __forceinline__ void add(float4& sum, float weight, const float4& value) {
  add(sum.x, weight, value.x);
  add(sum.y, weight, value.y);
  add(sum.z, weight, value.z);
  add(sum.w, weight, value.w);
}

// A warp makes up to 32 units (a float or four) of one bag; blockIdx.y says which. `units` is a row's number of them.
template <typename T>
__global__ void __launch_bounds__(kWarps * 32)
bag_sums(const T* table, const int64_t* indices, const float* weights, int64_t rows, int64_t bags, int bag_size,
         int units, T* out) {
  const int lane = threadIdx.x % 32, unit = blockIdx.y * 32 + lane;
  const int64_t bag = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (bag >= bags) return;
  const bool works = unit < units;
  const T* column = table + (works ? unit : 0);
  T sum = {};
  for (int base = 0; base < bag_size; base += 32) {
    const int count = min(32, bag_size - base);
    int64_t index = 0;
    float weight = 0;
    if (lane < count) {
      index = indices[bag * bag_size + base + lane];
      weight = weights[bag * bag_size + base + lane];
      if (index < 0 || index >= rows) __trap();
    }
    int j = 0;
    for (; j + kAhead <= count; j += kAhead) {
      T value[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) value[a] = __ldg(column + __shfl_sync(kAll, index, j + a) * units);
#pragma unroll
      for (int a = 0; a < kAhead; ++a) add(sum, __shfl_sync(kAll, weight, j + a), value[a]);
    }
    for (; j < count; ++j) {
      const T value = __ldg(column + __shfl_sync(kAll, index, j) * units);
      add(sum, __shfl_sync(kAll, weight, j), value);
    }
  }
  if (works) out[bag * units + unit] = sum;
}

template <typename T>
void launch(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& weights, at::Tensor& out) {
  const int64_t bags = indices.size(0), units = table.size(1) / (sizeof(T) / sizeof(float));
  const int64_t blocks = (bags + kWarps - 1) / kWarps, columns = (units + 31) / 32;
  TORCH_CHECK(blocks < (int64_t{1} << 31) && columns < 65536, "too many blocks for one launch");
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(columns));
  bag_sums<T><<<grid, kWarps * 32, 0, c10::cuda::getCurrentCUDAStream()>>>(
      reinterpret_cast<const T*>(table.const_data_ptr<float>()), indices.const_data_ptr<int64_t>(),
      weights.const_data_ptr<float>(), table.size(0), bags, static_cast<int>(indices.size(1)),
      static_cast<int>(units), reinterpret_cast<T*>(out.mutable_data_ptr<float>()));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace

at::Tensor embedding_bag_sum(at::Tensor table, at::Tensor indices, at::Tensor weights) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(table.dim() == 2 && table.scalar_type() == at::kFloat && table.is_cuda(),
              "expected a 2-d fp32 CUDA table");
  TORCH_CHECK(indices.dim() == 2 && indices.scalar_type() == at::kLong && indices.device() == table.device(),
              "expected 2-d int64 indices on ", table.device());
  TORCH_CHECK(weights.sizes() == indices.sizes() && weights.scalar_type() == at::kFloat &&
                  weights.device() == table.device(),
              "expected an fp32 weight for each index");
  const c10::cuda::CUDAGuard guard(table.device());
  table = table.contiguous();
  indices = indices.contiguous();
  weights = weights.contiguous();
  TORCH_CHECK(indices.size(1) < (int64_t{1} << 31) && table.size(1) < (int64_t{1} << 21), "too large a bag or row");
  at::Tensor out = at::empty({indices.size(0), table.size(1)}, table.options());
  if (out.numel() == 0) return out;
  const bool vectors = table.size(1) % 4 == 0 &&
                       reinterpret_cast<uintptr_t>(table.const_data_ptr<float>()) % 16 == 0 &&
                       reinterpret_cast<uintptr_t>(out.const_data_ptr<float>()) % 16 == 0;
  if (vectors)
    launch<float4>(table, indices, weights, out);
  else
    launch<float>(table, indices, weights, out);
  return out;
}
"""


_extension = load_inline(
    name="kb_embedding_bag_sum_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["embedding_bag_sum"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, rows, width):
        super().__init__()
        self.bag = nn.EmbeddingBag(rows, width, mode="sum")

    def forward(self, indices, weights):
        table = self.bag.weight
        plain = torch.is_grad_enabled() or not table.is_cuda or table.dtype != torch.float32
        if plain or indices.dtype != torch.int64 or indices.dim() != 2:
            return self.bag(indices, per_sample_weights=weights)
        return _extension.embedding_bag_sum(table, indices, weights)
