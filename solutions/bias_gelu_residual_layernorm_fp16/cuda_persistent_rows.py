"""Bias, GELU, residual and layer normalisation in fp16 on CUDA, in one kernel that stays for many rows.

A block keeps its part of bias, weight and offset in registers, as halves, and goes from row to row: while it works on
one, the next is on its way. A row's sums live in registers as fp32; mean, then squared deviations from it, and one
write. So two tensors are read once and one is written once.

Sound because everything between reading and writing is fp32, which is nearer to the exact answer than rounding to fp16
after each operator. The error function is a polynomial times an exponential that is off by 1.5e-7 at most.

The fused path has no backward: where autograd records, the plain operators run instead, as for other dtypes, odd widths
and rows beyond 8192.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor gelu_residual_layernorm(at::Tensor x, at::Tensor residual, at::Tensor bias, at::Tensor gamma,
                                   at::Tensor beta, double eps);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace {

constexpr int kWidest = 8192;
constexpr unsigned kAll = 0xffffffffu;

union Halves {
  uint4 bits;
  __half2 pairs[4];
};

// z * Phi(z), the normal distribution's, by Abramowitz and Stegun's formula 7.1.26 for the error function.
__device__ __forceinline__ float gelu(float z) {
  const float a = fabsf(z) * 0.70710678118654752f;
  const float t = __fdividef(1.f, fmaf(0.3275911f, a, 1.f));
  float p = fmaf(1.061405429f, t, -1.453152027f);
  p = fmaf(p, t, 1.421413741f);
  p = fmaf(p, t, -0.284496736f);
  p = fmaf(p, t, 0.254829592f);
  const float tail = 0.5f * p * t * __expf(-a * a);  // Phi(-|z|)
  return z * (z < 0.f ? tail : 1.f - tail);
}

// The sum over the block, to all threads. `room` must be another at the next call.
template <int kThreads>
__device__ __forceinline__ float block_sum(float v, float* room) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(kAll, v, step);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) sum += room[w];
  return sum;
}

// kVecs vectors of eight halves a thread; kBlocks blocks on a multiprocessor.
template <int kThreads, int kVecs, int kBlocks>
__global__ void __launch_bounds__(kThreads, kBlocks)
rows_of(const uint4* x, const uint4* residual, const uint4* bias, const uint4* gamma, const uint4* beta, int64_t rows,
        int vectors, float eps, uint4* out) {
  __shared__ float room[2][kThreads / 32];
  const uint4 none = make_uint4(0, 0, 0, 0);
  Halves b[kVecs], g[kVecs], o[kVecs];
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int at = i * kThreads + threadIdx.x;
    b[i].bits = at < vectors ? bias[at] : none;
    g[i].bits = at < vectors ? gamma[at] : none;
    o[i].bits = at < vectors ? beta[at] : none;
  }
  const float share = 1.f / (8.f * vectors);
  Halves next_x[kVecs], next_r[kVecs];
  int64_t row = blockIdx.x;
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int at = i * kThreads + threadIdx.x;
    next_x[i].bits = at < vectors ? __ldcs(x + row * vectors + at) : none;
    next_r[i].bits = at < vectors ? __ldcs(residual + row * vectors + at) : none;
  }
  for (; row < rows; row += gridDim.x) {
    float v[kVecs][8], sum = 0;
#pragma unroll
    for (int i = 0; i < kVecs; ++i) {
      if (i * kThreads + threadIdx.x < vectors) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 a = __half22float2(next_x[i].pairs[j]), c = __half22float2(b[i].pairs[j]);
          const float2 r = __half22float2(next_r[i].pairs[j]);
          v[i][2 * j] = r.x + gelu(a.x + c.x);
          v[i][2 * j + 1] = r.y + gelu(a.y + c.y);
          sum += v[i][2 * j] + v[i][2 * j + 1];
        }
      }
    }
    const int64_t following = row + gridDim.x;
    if (following < rows) {
#pragma unroll
      for (int i = 0; i < kVecs; ++i) {
        const int at = i * kThreads + threadIdx.x;
        if (at < vectors) {
          next_x[i].bits = __ldcs(x + following * vectors + at);
          next_r[i].bits = __ldcs(residual + following * vectors + at);
        }
      }
    }
    const float mean = block_sum<kThreads>(sum, room[0]) * share;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kVecs; ++i) {
      if (i * kThreads + threadIdx.x < vectors) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          v[i][j] -= mean;
          squares = fmaf(v[i][j], v[i][j], squares);
        }
      }
    }
    const float rstd = rsqrtf(block_sum<kThreads>(squares, room[1]) * share + eps);
#pragma unroll
    for (int i = 0; i < kVecs; ++i) {
      const int at = i * kThreads + threadIdx.x;
      if (at < vectors) {
        Halves y;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 w = __half22float2(g[i].pairs[j]), c = __half22float2(o[i].pairs[j]);
          y.pairs[j] = __floats2half2_rn(fmaf(v[i][2 * j] * rstd, w.x, c.x), fmaf(v[i][2 * j + 1] * rstd, w.y, c.y));
        }
        __stcs(out + row * vectors + at, y.bits);
      }
    }
  }
}

at::Tensor parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kHalf && p.device() == x.device() && p.numel() == n,
              "expected ", n, " fp16 parameters on ", x.device());
  return p.contiguous();
}

const uint4* bits_of(const at::Tensor& t) {
  const auto address = reinterpret_cast<uintptr_t>(t.const_data_ptr<at::Half>());
  TORCH_CHECK(address % 16 == 0, "expected memory at a multiple of 16 bytes");
  return reinterpret_cast<const uint4*>(address);
}

}  // namespace

at::Tensor gelu_residual_layernorm(at::Tensor x, at::Tensor residual, at::Tensor bias, at::Tensor gamma,
                                   at::Tensor beta, double eps) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(x.dim() >= 1 && x.scalar_type() == at::kHalf && x.is_cuda(), "expected an fp16 CUDA tensor");
  TORCH_CHECK(residual.sizes() == x.sizes() && residual.scalar_type() == at::kHalf && residual.device() == x.device(),
              "expected a residual of the same form");
  const int64_t width = x.size(-1);
  TORCH_CHECK(width % 8 == 0 && width <= kWidest, "expected whole vectors of 8, and 8192 at most");
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  residual = residual.contiguous();
  bias = parameter(bias, x, width);
  gamma = parameter(gamma, x, width);
  beta = parameter(beta, x, width);
  at::Tensor out = at::empty_like(x);
  if (x.numel() == 0) return out;
  int multiprocessors = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, x.get_device()));
  const int64_t rows = x.numel() / width;
  const int vectors = static_cast<int>(width / 8);
  const auto launch = [&](auto kernel, int threads, int64_t per_multiprocessor) {
    const int64_t blocks = multiprocessors * per_multiprocessor;
    kernel<<<static_cast<unsigned>(blocks < rows ? blocks : rows), threads, 0, stream>>>(
        bits_of(x), bits_of(residual), bits_of(bias), bits_of(gamma), bits_of(beta), rows, vectors,
        static_cast<float>(eps), reinterpret_cast<uint4*>(out.mutable_data_ptr<at::Half>()));
  };
  if (vectors <= 256)
    launch(rows_of<256, 1, 4>, 256, 4);
  else if (vectors <= 512)
    launch(rows_of<512, 1, 2>, 512, 2);
  else
    launch(rows_of<512, 2, 1>, 512, 1);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""


_extension = load_inline(
    name="kb_gelu_residual_layernorm_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["gelu_residual_layernorm"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x, residual):
        norm, width = self.norm, x.shape[-1]
        suits = x.is_cuda and x.dtype == torch.float16 and width % 8 == 0 and width <= 8192
        if torch.is_grad_enabled() or not suits:
            return norm(residual + nn.functional.gelu(x + self.bias))
        return _extension.gelu_residual_layernorm(x, residual, self.bias, norm.weight, norm.bias, norm.eps)
