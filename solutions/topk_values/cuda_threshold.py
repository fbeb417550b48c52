"""The largest values of each row on CUDA in one read: a threshold first, then a short list.

A block holds its row (or 8192 numbers of it) in registers, as integers in the same order as the floats. Each of the
eight warps finds the value that at least k/8 of its own numbers reach; the least of the eight is reached by k numbers
at least, and, as a rule, by few more. Those are written to a short list, and each finds its rank in it by counting.
Longer rows are done piece by piece, the best so far being candidates again.

Sound because nothing below the threshold can be among the k largest. Where many numbers are equal the list overflows;
then the largest value and its count are taken out again and again, which is slower and always right. Only values are
asked for, so the order in which threads write to the list does not show. A NaN is the largest of all, as torch has
it.

The fused path has no backward: where autograd records, the plain operator runs instead, as for a k above 64.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor topk_values(at::Tensor x, int64_t k);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kVecs = 8;                         // float4 of a thread
constexpr int kPiece = kThreads * 4 * kVecs;     // floats of a block
constexpr int kMost = 64;                        // the largest k
constexpr int kList = 448;
constexpr unsigned kAll = 0xffffffffu;

// Integers in the order of the floats, NaN last. Zero stands for no number at all.
__device__ __forceinline__ unsigned key_of(float x) {
  const unsigned bits = __float_as_uint(x);
  const unsigned key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return x != x ? 0xffffffffu : key;
}

__device__ __forceinline__ float value_of(unsigned key) {
  return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

struct Room {
  unsigned list[kList + kMost];
  unsigned best[2][kMost];
  unsigned of_warp[2][kWarps];
  int counts[2][kWarps];
  int listed;
};

// The best so far and the keys at hand, taken out value by value. Called by all threads.
__device__ __forceinline__ void by_value(const unsigned (&keys)[4 * kVecs], const unsigned* old, int k,
                                         unsigned* best, Room& room) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const unsigned own = threadIdx.x < k ? old[threadIdx.x] : 0;
  unsigned limit = 0xffffffffu;  // what is larger has been taken; what is equal, too, but for the first time
  int filled = 0;
  for (int turn = 0; filled < k; turn ^= 1) {
    const bool first = filled == 0;
    unsigned most = own < limit || first ? own : 0;
#pragma unroll
    for (int i = 0; i < 4 * kVecs; ++i)
      if (keys[i] < limit || first) most = max(most, keys[i]);
    most = __reduce_max_sync(kAll, most);
    if (lane == 0) room.of_warp[turn][warp] = most;
    __syncthreads();
    for (int w = 0; w < kWarps; ++w) most = max(most, room.of_warp[turn][w]);
    int count = own == most;
#pragma unroll
    for (int i = 0; i < 4 * kVecs; ++i) count += keys[i] == most;
    count = __reduce_add_sync(kAll, count);
    if (lane == 0) room.counts[turn][warp] = count;
    __syncthreads();
    count = 0;
    for (int w = 0; w < kWarps; ++w) count += room.counts[turn][w];
    const int end = most == 0 ? k : min(k, filled + count);
    if (threadIdx.x >= filled && threadIdx.x < end) best[threadIdx.x] = most;
    filled = end;
    limit = most;
  }
}

template <bool kVectors>
__global__ void __launch_bounds__(kThreads, 4) largest(const float* x, int64_t columns, int k, float* out) {
  __shared__ Room room;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float* in = x + blockIdx.x * columns;
  if (threadIdx.x < kMost) room.best[0][threadIdx.x] = 0;
  if (threadIdx.x == 0) room.listed = 0;
  int turn = 0;
  for (int64_t piece = 0; piece < columns; piece += kPiece, turn ^= 1) {
    unsigned keys[4 * kVecs];
#pragma unroll
    for (int i = 0; i < kVecs; ++i) {
      const int64_t at = piece + (i * kThreads + threadIdx.x) * 4;
      if (kVectors) {
        const bool there = at < columns;
        const float4 v = there ? __ldcs(reinterpret_cast<const float4*>(in + at)) : make_float4(0.f, 0.f, 0.f, 0.f);
        keys[4 * i] = there ? key_of(v.x) : 0;
        keys[4 * i + 1] = there ? key_of(v.y) : 0;
        keys[4 * i + 2] = there ? key_of(v.z) : 0;
        keys[4 * i + 3] = there ? key_of(v.w) : 0;
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) keys[4 * i + j] = at + j < columns ? key_of(in[at + j]) : 0;
      }
    }

    // k/8 lanes of this warp, rounded up, have a number that is at least `reached`.
    unsigned most = 0;
#pragma unroll
    for (int i = 0; i < 4 * kVecs; ++i) most = max(most, keys[i]);
    unsigned reached = 0;
    for (int i = 0; i < k; i += kWarps) {
      reached = __reduce_max_sync(kAll, most);
      if (lane == __ffs(__ballot_sync(kAll, most == reached)) - 1) most = 0;
    }
    if (lane == 0) room.of_warp[0][warp] = reached;
    __syncthreads();
    unsigned threshold = 0xffffffffu;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) threshold = min(threshold, room.of_warp[0][w]);
    const unsigned* old = room.best[turn];
    unsigned* best = room.best[turn ^ 1];
    const unsigned beaten = old[k - 1];  // as good as that is not good enough
#pragma unroll
    for (int i = 0; i < 4 * kVecs; ++i)
      if (keys[i] >= threshold && keys[i] > beaten) {
        const int place = atomicAdd(&room.listed, 1);
        if (place < kList) room.list[place] = keys[i];
      }
    __syncthreads();
    const int listed = room.listed;
    if (listed > kList) {
      by_value(keys, old, k, best, room);
    } else {
      if (threadIdx.x < k) room.list[listed + threadIdx.x] = old[threadIdx.x];
      __syncthreads();
      const int total = listed + k;
      for (int i = threadIdx.x; i < total; i += kThreads) {
        const unsigned own = room.list[i];
        int rank = 0;
        for (int j = 0; j < total; ++j) rank += room.list[j] > own || (room.list[j] == own && j < i);
        if (rank < k) best[rank] = own;
      }
    }
    __syncthreads();
    if (threadIdx.x == 0) room.listed = 0;
  }
  if (threadIdx.x < k) out[int64_t{blockIdx.x} * k + threadIdx.x] = value_of(room.best[turn][threadIdx.x]);
}

}  // namespace

at::Tensor topk_values(at::Tensor x, int64_t k) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(x.dim() == 2 && x.scalar_type() == at::kFloat && x.is_cuda(), "expected a 2-d fp32 CUDA tensor");
  const int64_t rows = x.size(0), columns = x.size(1);
  TORCH_CHECK(k >= 1 && k <= kMost && k <= columns, "expected 1 <= k <= ", kMost, " and no more than ", columns);
  TORCH_CHECK(rows < (int64_t{1} << 31), "too many rows for one launch");
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  at::Tensor out = at::empty({rows, k}, x.options());
  if (rows == 0) return out;
  const float* in = x.const_data_ptr<float>();
  const bool vectors = columns % 4 == 0 && reinterpret_cast<uintptr_t>(in) % 16 == 0;
  const auto kernel = vectors ? largest<true> : largest<false>;
  kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(in, columns, static_cast<int>(k),
                                                               out.mutable_data_ptr<float>());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""


_extension = load_inline(
    name="kb_topk_values_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["topk_values"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, x):
        suits = x.is_cuda and x.dtype == torch.float32 and x.dim() == 2 and 1 <= self.k <= 64
        if torch.is_grad_enabled() or not suits:
            return torch.topk(x, self.k, dim=1).values
        return _extension.topk_values(x, self.k)
