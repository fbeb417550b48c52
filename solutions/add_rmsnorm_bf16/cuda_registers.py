"""Residual addition and RMSNorm in bf16 on CUDA: both inputs are read once, both outputs written once.

A block holds a row of the sum in its registers, eight bf16 to a load, writes it, and takes the mean of squares in fp32.
Rows longer than the registers hold (32768) go by operators.

Sound because it rounds where the reference does: the sum to bf16 before it is squared, the normalised value to bf16
before it is multiplied by the weight. The reduction is a tree of fixed shape, so repeated calls agree bit for bit.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
std::tuple<at::Tensor, at::Tensor> add_rmsnorm(at::Tensor x, at::Tensor residual, at::Tensor weight,
                                               double eps);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>

#include <cstdint>
#include <tuple>

namespace {

constexpr int kVectors = 4;  // 16-byte vectors that a thread holds
constexpr int kLanes = 8;    // bf16 in one of them
constexpr int kHeld = kVectors * kLanes;
constexpr int kMaxThreads = 1024;
constexpr unsigned kAll = 0xffffffffu;

// bf16 are handled as the 16 bits that they are: the upper half of an fp32.
__device__ __forceinline__ float widened(uint32_t bits) { return __uint_as_float(bits << 16); }

__device__ __forceinline__ uint32_t rounded(float v) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(v));
}

__device__ __forceinline__ float low(uint32_t pair) { return widened(pair & 0xffffu); }
__device__ __forceinline__ float high(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

__device__ __forceinline__ uint32_t paired(float first, float second) {
  return rounded(first) | rounded(second) << 16;
}

// Over all threads of the block, known to all of them.
__device__ float block_sum(float v, float* slots) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(kAll, v, step);
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  if (lane == 0) slots[threadIdx.x / 32] = v;
  __syncthreads();
  v = lane < warps ? slots[lane] : 0.f;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(kAll, v, step);
  return v;
}

// Eight neighbours, or as many as there are before the row's end; 0 beyond it.
template <bool kWide, bool kOnce>
__device__ __forceinline__ void load(const uint16_t* p, int at, int columns, uint32_t (&v)[4]) {
  if constexpr (kWide) {
    uint4 got = make_uint4(0, 0, 0, 0);
    const uint4* from = reinterpret_cast<const uint4*>(p + at);
    if (at < columns) got = kOnce ? __ldcs(from) : __ldg(from);
    v[0] = got.x;
    v[1] = got.y;
    v[2] = got.z;
    v[3] = got.w;
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int c = at + 2 * k;
      const uint32_t first = c < columns ? p[c] : 0, second = c + 1 < columns ? p[c + 1] : 0;
      v[k] = first | second << 16;
    }
  }
}

template <bool kWide>
__device__ __forceinline__ void store(uint16_t* p, int at, int columns, const uint32_t (&v)[4]) {
  if constexpr (kWide) {
    if (at < columns) __stcs(reinterpret_cast<uint4*>(p + at), make_uint4(v[0], v[1], v[2], v[3]));
  } else {
#pragma unroll
    for (int k = 0; k < 8; ++k)
      if (at + k < columns) p[at + k] = static_cast<uint16_t>(v[k / 2] >> 16 * (k % 2));
  }
}

// One block per row. A thread's values are columns 8 (u * threads + t) .. + 7.
template <bool kWide>
__global__ void __launch_bounds__(kMaxThreads)
add_normalise(const uint16_t* __restrict__ x, const uint16_t* __restrict__ residual,
              const uint16_t* __restrict__ weight, int columns, float eps,
              uint16_t* __restrict__ normalised, uint16_t* __restrict__ hidden) {
  __shared__ float slots[32];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * columns;
  const int threads = blockDim.x, t = threadIdx.x;
  uint32_t v[kVectors][4], other[kVectors][4];
#pragma unroll
  for (int u = 0; u < kVectors; ++u)
    load<kWide, true>(x + start, kLanes * (u * threads + t), columns, v[u]);
#pragma unroll
  for (int u = 0; u < kVectors; ++u)
    load<kWide, true>(residual + start, kLanes * (u * threads + t), columns, other[u]);
  float square = 0;
#pragma unroll
  for (int u = 0; u < kVectors; ++u) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      v[u][k] = paired(low(other[u][k]) + low(v[u][k]), high(other[u][k]) + high(v[u][k]));
      square += low(v[u][k]) * low(v[u][k]) + high(v[u][k]) * high(v[u][k]);
    }
    store<kWide>(hidden + start, kLanes * (u * threads + t), columns, v[u]);
  }
  const float factor = 1.f / sqrtf(block_sum(square, slots) / columns + eps);
#pragma unroll
  for (int u = 0; u < kVectors; ++u) {
    uint32_t w[4];
    load<kWide, false>(weight, kLanes * (u * threads + t), columns, w);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float first = widened(rounded(low(v[u][k]) * factor));
      const float second = widened(rounded(high(v[u][k]) * factor));
      v[u][k] = paired(low(w[k]) * first, high(w[k]) * second);
    }
    store<kWide>(normalised + start, kLanes * (u * threads + t), columns, v[u]);
  }
}

const uint16_t* bits(const at::Tensor& t) {
  return static_cast<const uint16_t*>(t.const_data_ptr());
}

bool wide(const at::Tensor& t) { return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0; }

}  // namespace

std::tuple<at::Tensor, at::Tensor> add_rmsnorm(at::Tensor x, at::Tensor residual, at::Tensor weight,
                                               double eps) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(x.dim() >= 1 && x.scalar_type() == at::kBFloat16 && x.is_cuda(),
              "expected a bf16 CUDA tensor");
  TORCH_CHECK(residual.scalar_type() == at::kBFloat16 && residual.device() == x.device() &&
                  residual.sizes() == x.sizes(), "x and residual must be alike");
  const int64_t columns = x.size(-1);
  TORCH_CHECK(columns <= int64_t{kMaxThreads} * kHeld, "rows of at most ", kMaxThreads * kHeld);
  TORCH_CHECK(weight.scalar_type() == at::kBFloat16 && weight.device() == x.device() &&
                  weight.numel() == columns, "expected ", columns, " bf16 weights on ", x.device());
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  residual = residual.contiguous();
  weight = weight.contiguous();
  at::Tensor normalised = at::empty_like(x), hidden = at::empty_like(x);
  if (x.numel() == 0) return {normalised, hidden};
  const int64_t rows = x.numel() / columns;
  TORCH_CHECK(rows < (int64_t{1} << 31), "too many rows for one launch");
  const int c = static_cast<int>(columns), threads = ((c + kHeld - 1) / kHeld + 31) / 32 * 32;
  auto launch = [&](auto kernel) {
    kernel<<<static_cast<unsigned>(rows), threads, 0, stream>>>(
        bits(x), bits(residual), bits(weight), c, static_cast<float>(eps),
        static_cast<uint16_t*>(normalised.mutable_data_ptr()),
        static_cast<uint16_t*>(hidden.mutable_data_ptr()));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  };
  if (c % kLanes == 0 && wide(x) && wide(residual) && wide(weight))
    launch(add_normalise<true>);
  else
    launch(add_normalise<false>);
  return {normalised, hidden};
}
"""


_extension = load_inline(
    name="kb_add_rmsnorm_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["add_rmsnorm"],
    extra_cuda_cflags=["-O3"],
)
_LONGEST_ROW = 32768


class ModelNew(nn.Module):
    def __init__(self, features, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features))
        self.eps = eps

    def forward(self, x, residual):
        if torch.is_grad_enabled() or x.shape[-1] > _LONGEST_ROW or x.dtype != torch.bfloat16:
            return self._by_operators(x, residual)
        return _extension.add_rmsnorm(x, residual, self.weight, self.eps)

    def _by_operators(self, x, residual):
        hidden = residual + x
        wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        factor = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * factor).to(hidden.dtype), hidden
