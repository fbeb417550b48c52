"""LayerScale, residual addition and LayerNorm on CUDA: both inputs are read once, both outputs written once.

A block holds a row of the new residual stream in its registers, writes it, takes its mean and then the mean square of
the deviations from it, and writes the normalised row. Rows longer than the registers hold (16384) go by operators.

Sound because the variance comes from deviations, not from squares: nothing cancels however far the mean is from zero.
The reductions are trees of a fixed shape, so repeated calls agree bit for bit.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
std::tuple<at::Tensor, at::Tensor> add_layernorm(at::Tensor branch, at::Tensor residual,
                                                 at::Tensor scale, at::Tensor weight,
                                                 at::Tensor bias, double eps);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <tuple>

namespace {

constexpr int kVectors = 4;  // float4 that a thread holds
constexpr int kHeld = 4 * kVectors;
constexpr int kMaxThreads = 1024;
constexpr unsigned kAll = 0xffffffffu;

// Over all threads of the block, known to all of them. `slots` is used once per launch.
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

// Four neighbours, or as many as there are before the row's end; 0 beyond it.
template <bool kWide, bool kOnce>
__device__ __forceinline__ float4 load(const float* p, int at, int columns) {
  if constexpr (kWide) {
    if (at >= columns) return make_float4(0, 0, 0, 0);
    const float4* from = reinterpret_cast<const float4*>(p + at);
    return kOnce ? __ldcs(from) : __ldg(from);
  } else {
    return make_float4(at < columns ? p[at] : 0.f, at + 1 < columns ? p[at + 1] : 0.f,
                       at + 2 < columns ? p[at + 2] : 0.f, at + 3 < columns ? p[at + 3] : 0.f);
  }
}

template <bool kWide>
__device__ __forceinline__ void store(float* p, int at, int columns, const float* v) {
  if constexpr (kWide) {
    if (at < columns)
      __stcs(reinterpret_cast<float4*>(p + at), make_float4(v[0], v[1], v[2], v[3]));
  } else {
    for (int k = 0; k < 4; ++k)
      if (at + k < columns) p[at + k] = v[k];
  }
}

// One block per row. A thread's values are columns 4 (u * threads + t) .. + 3.
template <bool kWide>
__global__ void __launch_bounds__(kMaxThreads)
scale_add_normalise(const float* __restrict__ branch, const float* __restrict__ residual,
                    const float* __restrict__ scale, const float* __restrict__ weight,
                    const float* __restrict__ bias, int columns, float eps,
                    float* __restrict__ normalised, float* __restrict__ hidden) {
  __shared__ float sums[32], squares[32];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * columns;
  const int threads = blockDim.x, t = threadIdx.x;
  float4 from[kVectors], onto[kVectors];
#pragma unroll
  for (int u = 0; u < kVectors; ++u)
    from[u] = load<kWide, true>(branch + start, 4 * (u * threads + t), columns);
#pragma unroll
  for (int u = 0; u < kVectors; ++u)
    onto[u] = load<kWide, true>(residual + start, 4 * (u * threads + t), columns);
  float v[kHeld];
  float sum = 0;
#pragma unroll
  for (int u = 0; u < kVectors; ++u) {
    const int at = 4 * (u * threads + t);
    const float4 factor = load<kWide, false>(scale, at, columns);
    v[4 * u] = onto[u].x + factor.x * from[u].x;
    v[4 * u + 1] = onto[u].y + factor.y * from[u].y;
    v[4 * u + 2] = onto[u].z + factor.z * from[u].z;
    v[4 * u + 3] = onto[u].w + factor.w * from[u].w;
    store<kWide>(hidden + start, at, columns, v + 4 * u);
    sum += (v[4 * u] + v[4 * u + 1]) + (v[4 * u + 2] + v[4 * u + 3]);
  }
  const float mean = block_sum(sum, sums) / columns;
  float square = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    v[i] -= mean;
    if (4 * (i / 4 * threads + t) + i % 4 < columns) square += v[i] * v[i];
  }
  const float factor = 1.f / sqrtf(block_sum(square, squares) / columns + eps);
#pragma unroll
  for (int u = 0; u < kVectors; ++u) {
    const int at = 4 * (u * threads + t);
    const float4 w = load<kWide, false>(weight, at, columns);
    const float4 b = load<kWide, false>(bias, at, columns);
    const float y[4] = {v[4 * u] * factor * w.x + b.x, v[4 * u + 1] * factor * w.y + b.y,
                        v[4 * u + 2] * factor * w.z + b.z, v[4 * u + 3] * factor * w.w + b.w};
    store<kWide>(normalised + start, at, columns, y);
  }
}

// A contiguous vector of parameters, on x's device and in fp32, as the kernel reads it.
at::Tensor parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.device() == x.device() && p.numel() == n,
              "expected ", n, " fp32 parameters on ", x.device());
  return p.contiguous();
}

bool wide(const at::Tensor& t) { return reinterpret_cast<uintptr_t>(t.data_ptr()) % 16 == 0; }

}  // namespace

std::tuple<at::Tensor, at::Tensor> add_layernorm(at::Tensor branch, at::Tensor residual,
                                                 at::Tensor scale, at::Tensor weight,
                                                 at::Tensor bias, double eps) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(branch.dim() >= 1 && branch.scalar_type() == at::kFloat && branch.is_cuda(),
              "expected an fp32 CUDA tensor");
  TORCH_CHECK(residual.scalar_type() == at::kFloat && residual.device() == branch.device() &&
                  residual.sizes() == branch.sizes(), "branch and residual must be alike");
  const int64_t columns = branch.size(-1);
  TORCH_CHECK(columns <= int64_t{kMaxThreads} * kHeld, "rows of at most ", kMaxThreads * kHeld);
  const c10::cuda::CUDAGuard guard(branch.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  branch = branch.contiguous();
  residual = residual.contiguous();
  scale = parameter(scale, branch, columns);
  weight = parameter(weight, branch, columns);
  bias = parameter(bias, branch, columns);
  at::Tensor normalised = at::empty_like(branch), hidden = at::empty_like(branch);
  if (branch.numel() == 0) return {normalised, hidden};
  const int64_t rows = branch.numel() / columns;
  TORCH_CHECK(rows < (int64_t{1} << 31), "too many rows for one launch");
  const int c = static_cast<int>(columns), threads = ((c + kHeld - 1) / kHeld + 31) / 32 * 32;
  auto launch = [&](auto kernel) {
    kernel<<<static_cast<unsigned>(rows), threads, 0, stream>>>(
        branch.const_data_ptr<float>(), residual.const_data_ptr<float>(),
        scale.const_data_ptr<float>(), weight.const_data_ptr<float>(),
        bias.const_data_ptr<float>(), c, static_cast<float>(eps),
        normalised.mutable_data_ptr<float>(), hidden.mutable_data_ptr<float>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  };
  if (c % 4 == 0 && wide(branch) && wide(residual) && wide(scale) && wide(weight) && wide(bias))
    launch(scale_add_normalise<true>);
  else
    launch(scale_add_normalise<false>);
  return {normalised, hidden};
}
"""


_extension = load_inline(
    name="kb_add_layernorm_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["add_layernorm"],
    extra_cuda_cflags=["-O3"],
)
_LONGEST_ROW = 16384


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(features))
        self.norm = nn.LayerNorm(features)

    def forward(self, branch, residual):
        norm = self.norm
        if torch.is_grad_enabled() or branch.shape[-1] > _LONGEST_ROW:
            hidden = residual + self.scale * branch
            return norm(hidden), hidden
        return _extension.add_layernorm(branch, residual, self.scale, norm.weight, norm.bias, norm.eps)
