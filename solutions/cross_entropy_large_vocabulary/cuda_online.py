"""Cross-entropy over a large vocabulary on CUDA, one read of the logits and nothing else.

A block reads one row and keeps, per thread, the largest value so far and the sum of exponentials relative to it; the
threads' pairs are merged in a tree of fixed shape. The log-probabilities are never stored. A second, tiny kernel adds
the rows' losses in double, in a fixed order.

Sound because a pair (m, s) stands for the sum s * exp(m) whatever m is, so pairs may be merged in any grouping. A NaN
or +inf makes its row's loss NaN, as in torch.

The fused path has no backward: where autograd records, the plain operator runs instead.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.cpp_extension import load_inline

_CPP = "at::Tensor cross_entropy(at::Tensor logits, at::Tensor targets);"

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kUnroll = 4;  // 16-byte loads in flight per thread
constexpr int kFinishThreads = 1024;
constexpr int64_t kIgnored = -100;
constexpr unsigned kAll = 0xffffffffu;

// The sum of exp(x) over some values: total * exp(largest). Of no values: (-inf, 0).
struct Exponentials {
  float largest, total;

  // What may be subtracted: -inf - -inf would be NaN where there is merely nothing yet.
  __device__ static float safe(float m) { return m == -INFINITY ? 0.f : m; }

  template <int K>
  __device__ void add(const float (&x)[K]) {
    float most = largest;
#pragma unroll
    for (int i = 0; i < K; ++i) most = fmaxf(most, x[i]);
    const float base = safe(most);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < K; ++i) sum += __expf(x[i] - base);
    total = total * __expf(largest - base) + sum;
    largest = most;
  }

  __device__ void merge(float other_largest, float other_total) {
    const float most = fmaxf(largest, other_largest), base = safe(most);
    total = total * __expf(largest - base) + other_total * __expf(other_largest - base);
    largest = most;
  }
};

// Valid in all lanes. Both partners of a step merge the same two pairs in the same order.
__device__ Exponentials warp_merge(Exponentials e) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    e.merge(__shfl_xor_sync(kAll, e.largest, step), __shfl_xor_sync(kAll, e.total, step));
  return e;
}

// One block per row; its loss goes to losses[row], 0 where it does not count.
template <bool kWide>
__global__ void __launch_bounds__(kThreads)
row_losses(const float* __restrict__ logits, const int64_t* __restrict__ targets,
           int64_t vocabulary, float* __restrict__ losses) {
  const int64_t target = targets[blockIdx.x];
  if (target == kIgnored) {
    if (threadIdx.x == 0) losses[blockIdx.x] = 0.f;
    return;
  }
  const float* row = logits + blockIdx.x * vocabulary;
  Exponentials e = {-INFINITY, 0.f};
  if constexpr (kWide) {
    const float4* wide = reinterpret_cast<const float4*>(row);
    const int64_t vectors = vocabulary / 4;
    int64_t i = threadIdx.x;
    for (; i + (kUnroll - 1) * kThreads < vectors; i += kUnroll * kThreads) {
      float4 got[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) got[u] = __ldcs(wide + i + u * kThreads);
      float x[4 * kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        x[4 * u] = got[u].x;
        x[4 * u + 1] = got[u].y;
        x[4 * u + 2] = got[u].z;
        x[4 * u + 3] = got[u].w;
      }
      e.add(x);
    }
    for (; i < vectors; i += kThreads) {
      const float4 got = __ldcs(wide + i);
      const float x[4] = {got.x, got.y, got.z, got.w};
      e.add(x);
    }
  } else {
    for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads) {
      const float x[1] = {row[i]};
      e.add(x);
    }
  }

  __shared__ float slots[2][kWarps];
  e = warp_merge(e);
  if (threadIdx.x % 32 == 0) {
    slots[0][threadIdx.x / 32] = e.largest;
    slots[1][threadIdx.x / 32] = e.total;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    e = {slots[0][0], slots[1][0]};
    for (int w = 1; w < kWarps; ++w) e.merge(slots[0][w], slots[1][w]);
    const bool valid = target >= 0 && target < vocabulary;
    // A target outside of the vocabulary is an error that a kernel cannot raise.
    losses[blockIdx.x] = valid ? logf(e.total) - (row[target] - e.largest) : NAN;
  }
}

// The mean over the rows that count, in double and in a fixed order. One block.
__global__ void __launch_bounds__(kFinishThreads)
finish(const float* __restrict__ losses, const int64_t* __restrict__ targets, int64_t rows,
       float* __restrict__ out) {
  double sum = 0;
  long long count = 0;
  for (int64_t i = threadIdx.x; i < rows; i += kFinishThreads) {
    sum += losses[i];
    count += targets[i] != kIgnored;
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(kAll, sum, step);
    count += __shfl_xor_sync(kAll, count, step);
  }
  __shared__ double sums[32];
  __shared__ long long counts[32];
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
    counts[threadIdx.x / 32] = count;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < kFinishThreads / 32; ++w) {
      sums[0] += sums[w];
      counts[0] += counts[w];
    }
    *out = static_cast<float>(sums[0] / static_cast<double>(counts[0]));
  }
}

}  // namespace

at::Tensor cross_entropy(at::Tensor logits, at::Tensor targets) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(logits.dim() == 2 && logits.scalar_type() == at::kFloat && logits.is_cuda(),
              "expected a 2-d fp32 CUDA tensor of logits");
  const int64_t rows = logits.size(0), vocabulary = logits.size(1);
  TORCH_CHECK(targets.dim() == 1 && targets.scalar_type() == at::kLong && targets.size(0) == rows &&
                  targets.device() == logits.device(), "expected ", rows, " int64 targets");
  TORCH_CHECK(rows < (int64_t{1} << 31), "too many rows for one launch");
  const c10::cuda::CUDAGuard guard(logits.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  logits = logits.contiguous();
  targets = targets.contiguous();
  at::Tensor out = at::empty({}, logits.options());
  at::Tensor losses = at::empty({rows}, logits.options());
  const float* from = logits.const_data_ptr<float>();
  const int64_t* wanted = targets.const_data_ptr<int64_t>();
  if (rows > 0) {
    const unsigned grid = static_cast<unsigned>(rows);
    if (vocabulary % 4 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0)
      row_losses<true><<<grid, kThreads, 0, stream>>>(from, wanted, vocabulary,
                                                      losses.mutable_data_ptr<float>());
    else
      row_losses<false><<<grid, kThreads, 0, stream>>>(from, wanted, vocabulary,
                                                       losses.mutable_data_ptr<float>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  finish<<<1, kFinishThreads, 0, stream>>>(losses.const_data_ptr<float>(), wanted, rows,
                                           out.mutable_data_ptr<float>());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""


_extension = load_inline(
    name="kb_cross_entropy_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["cross_entropy"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def forward(self, logits, targets):
        if torch.is_grad_enabled():
            return F.cross_entropy(logits, targets)
        return _extension.cross_entropy(logits, targets)
