"""F P F^T + Q for many small matrices on CUDA: one read of each input, one write, and nothing in between.

One warp has one filter, all of it in registers. Both products run on TF32 tensor cores with operands split in two,
which keeps fp32's accuracy: x = high + low, each of 11 bits, and only low times low is left out. The order of the terms
of a sum is free, so F's elements are loaded once, in pairs along its rows, and serve as two of the four operands:

    W = F P^T,   out^T = W F^T,   and a tile of W leaves the first product as the second one wants it.

Sound because x - high is exact, and what is dropped is 2^-22 of a term. Sums of small integers are exact. Nothing is
assumed to be symmetric. Matrices larger than 32 x 32 go by operators.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = "at::Tensor covariance_step(at::Tensor transition, at::Tensor covariance, at::Tensor noise);"

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kThreads = 128;
constexpr int kFilters = kThreads / 32;  // of a block

// x = high + low, up to 2^-22 of it; both are TF32 values.
struct Split {
  uint32_t high, low;
};

__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(x));
  return bits;
}

__device__ __forceinline__ Split split(float x) {
  const uint32_t high = to_tf32(x);
  return {high, to_tf32(x - __uint_as_float(high))};
}

// d (16 x 8, fp32) += a (16 x 8, TF32) b (8 x 8, TF32)
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// A thread's part of a 16 x 8 left operand: rows g and g + 8, columns 2 t and 2 t + 1.
struct Left {
  uint32_t high[4], low[4];

  __device__ void set(const Split (&upper)[2], const Split (&lower)[2]) {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      high[2 * k] = upper[k].high;
      high[2 * k + 1] = lower[k].high;
      low[2 * k] = upper[k].low;
      low[2 * k + 1] = lower[k].low;
    }
  }
};

// d += left right, the smallest terms first. `pair` is a thread's part of an 8 x 8 right operand: column g, rows 2 t
// and 2 t + 1.
__device__ __forceinline__ void add_product(float (&d)[4], const Left& left,
                                            const Split (&pair)[2]) {
  const uint32_t high[2] = {pair[0].high, pair[1].high}, low[2] = {pair[0].low, pair[1].low};
  multiply_add(d, left.low, high);
  multiply_add(d, left.high, low);
  multiply_add(d, left.high, high);
}

// Elements (row, column) and (row, column + 1) of an n x n matrix, 0 outside of it.
template <bool kPairs>
__device__ __forceinline__ float2 load_pair(const float* m, int n, int row, int column) {
  if (row >= n || column >= n) return make_float2(0, 0);
  const float* p = m + row * n + column;
  if constexpr (kPairs) return __ldcs(reinterpret_cast<const float2*>(p));
  return make_float2(p[0], column + 1 < n ? p[1] : 0.f);
}

// kTiles: 8-row strips that hold the matrix, 2 (up to 16 x 16) or 4 (up to 32 x 32).
template <int kTiles, bool kPairs>
__global__ void __launch_bounds__(kThreads)
step(const float* __restrict__ transition, const float* __restrict__ covariance,
     const float* __restrict__ noise, int64_t filters, int n, float* __restrict__ out) {
  const int64_t filter = static_cast<int64_t>(blockIdx.x) * kFilters + threadIdx.x / 32;
  if (filter >= filters) return;  // a whole warp
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int64_t offset = filter * n * n;

  Split f[kTiles][kTiles][2];  // strip of rows, strip of columns, one of two neighbours
  float2 got[kTiles][kTiles], p[kTiles][kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      got[i][k] = load_pair<kPairs>(transition + offset, n, 8 * i + g, 8 * k + 2 * t);
      p[i][k] = load_pair<kPairs>(covariance + offset, n, 8 * i + g, 8 * k + 2 * t);
    }
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      f[i][k][0] = split(got[i][k].x);
      f[i][k][1] = split(got[i][k].y);
    }

#pragma unroll
  for (int strip = 0; strip < kTiles; strip += 2) {  // 16 rows of W, and so 16 columns of the result
    // A thread has (b, a) of the transposed result for b = g, g + 8 of this strip and a = 2 t, 2 t + 1 of each tile:
    // eight threads lie side by side in a row of the result.
    auto row_of = [&](int a, int i) { return 8 * a + 2 * t + i % 2; };
    auto column_of = [&](int i) { return 8 * (strip + i / 2) + g; };
    float q[kTiles][4];
#pragma unroll
    for (int a = 0; a < kTiles; ++a)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        q[a][i] = row_of(a, i) < n && column_of(i) < n
                      ? __ldcs(noise + offset + row_of(a, i) * n + column_of(i)) : 0.f;

    float w[kTiles][4] = {};
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      Left left;
      left.set(f[strip][k], f[strip + 1][k]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {  // column strip j of W: rows of P
        const Split pair[2] = {split(p[j][k].x), split(p[j][k].y)};
        add_product(w[j], left, pair);
      }
    }
    float result[kTiles][4] = {};
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      const Split upper[2] = {split(w[k][0]), split(w[k][1])};
      const Split lower[2] = {split(w[k][2]), split(w[k][3])};
      Left left;
      left.set(upper, lower);
#pragma unroll
      for (int a = 0; a < kTiles; ++a) add_product(result[a], left, f[a][k]);
    }
#pragma unroll
    for (int a = 0; a < kTiles; ++a)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (row_of(a, i) < n && column_of(i) < n)
          __stcs(out + offset + row_of(a, i) * n + column_of(i), result[a][i] + q[a][i]);
  }
}

bool paired(const at::Tensor& t) { return reinterpret_cast<uintptr_t>(t.data_ptr()) % 8 == 0; }

}  // namespace

at::Tensor covariance_step(at::Tensor transition, at::Tensor covariance, at::Tensor noise) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(transition.dim() == 3 && transition.size(1) == transition.size(2) &&
                  transition.size(1) <= 32, "expected a batch of square matrices up to 32 x 32");
  for (const at::Tensor& m : {transition, covariance, noise})
    TORCH_CHECK(m.scalar_type() == at::kFloat && m.is_cuda() && m.device() == transition.device() &&
                    m.sizes() == transition.sizes(), "expected three fp32 CUDA tensors alike");
  const c10::cuda::CUDAGuard guard(transition.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  transition = transition.contiguous();
  covariance = covariance.contiguous();
  noise = noise.contiguous();
  at::Tensor out = at::empty_like(transition);
  if (out.numel() == 0) return out;
  const int64_t filters = out.size(0), blocks = (filters + kFilters - 1) / kFilters;
  const int n = static_cast<int>(out.size(1));
  TORCH_CHECK(blocks < (int64_t{1} << 31), "too many blocks for one launch");
  auto launch = [&](auto kernel) {
    kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
        transition.const_data_ptr<float>(), covariance.const_data_ptr<float>(),
        noise.const_data_ptr<float>(), filters, n, out.mutable_data_ptr<float>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  };
  const bool pairs = n % 2 == 0 && paired(transition) && paired(covariance);
  if (n <= 16)
    pairs ? launch(step<2, true>) : launch(step<2, false>);
  else
    pairs ? launch(step<4, true>) : launch(step<4, false>);
  return out;
}
"""


_extension = load_inline(
    name="kb_covariance_step_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["covariance_step"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def forward(self, transition, covariance, noise):
        if torch.is_grad_enabled() or transition.shape[-1] > 32:
            return torch.bmm(torch.bmm(transition, covariance), transition.transpose(1, 2)) + noise
        return _extension.covariance_step(transition, covariance, noise)
