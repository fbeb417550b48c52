"""Rotary embedding of queries and keys on CUDA, in one launch: one read and one write of every element.

A thread holds the cosines and sines of four columns in each half of one position, and applies them to several heads in
turn, so that the tables are read once for many heads.

Nothing is assumed of the tables: their two halves may differ. Each output is two products and one addition, as in the
reference.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
std::tuple<at::Tensor, at::Tensor> rotate(at::Tensor queries, at::Tensor keys, at::Tensor cos,
                                          at::Tensor sin);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <tuple>

namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 4;  // heads whose loads are in flight together
constexpr int kHeads = 16;  // heads that share a thread's cosines and sines

template <int N>
struct Group {
  float v[N];
};

template <int N>
__device__ __forceinline__ Group<N> load(const float* p, bool once) {
  Group<N> g;
  if constexpr (N == 4) {
    const float4* from = reinterpret_cast<const float4*>(p);
    const float4 got = once ? __ldcs(from) : __ldg(from);
    g.v[0] = got.x;
    g.v[1] = got.y;
    g.v[2] = got.z;
    g.v[3] = got.w;
  } else {
    g.v[0] = *p;
  }
  return g;
}

template <int N>
__device__ __forceinline__ void store(float* p, const Group<N>& g) {
  if constexpr (N == 4)
    __stcs(reinterpret_cast<float4*>(p), make_float4(g.v[0], g.v[1], g.v[2], g.v[3]));
  else
    *p = g.v[0];
}

// Heads of the queries come first, then those of the keys: each is a (positions, 2 half) matrix.
struct Heads {
  const float *queries, *keys;
  float *rotated_queries, *rotated_keys;
  int64_t query_count, count, size;

  __device__ const float* source(int64_t head) const {
    return head < query_count ? queries + head * size : keys + (head - query_count) * size;
  }
  __device__ float* target(int64_t head) const {
    return head < query_count ? rotated_queries + head * size
                              : rotated_keys + (head - query_count) * size;
  }
};

// Thread i of a row of blocks has N columns of each half of one position; blockIdx.y chooses heads.
template <int N>
__global__ void __launch_bounds__(kThreads)
rotate_heads(Heads heads, const float* __restrict__ cos, const float* __restrict__ sin,
             int64_t positions, int half) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int per_row = half / N;
  const int64_t position = index / per_row;
  if (position >= positions) return;
  const int64_t at = position * 2 * half + index % per_row * N;
  const Group<N> cos1 = load<N>(cos + at, false), cos2 = load<N>(cos + at + half, false);
  const Group<N> sin1 = load<N>(sin + at, false), sin2 = load<N>(sin + at + half, false);
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * kHeads;
  const int64_t end = begin + kHeads < heads.count ? begin + kHeads : heads.count;
  for (int64_t head = begin; head < end; head += kAtOnce) {
    Group<N> first[kAtOnce], second[kAtOnce];
#pragma unroll
    for (int h = 0; h < kAtOnce; ++h)
      if (head + h < end) {
        const float* p = heads.source(head + h) + at;
        first[h] = load<N>(p, true);
        second[h] = load<N>(p + half, true);
      }
#pragma unroll
    for (int h = 0; h < kAtOnce; ++h)
      if (head + h < end) {
        Group<N> a, b;
#pragma unroll
        for (int k = 0; k < N; ++k) {
          a.v[k] = first[h].v[k] * cos1.v[k] - second[h].v[k] * sin1.v[k];
          b.v[k] = second[h].v[k] * cos2.v[k] + first[h].v[k] * sin2.v[k];
        }
        float* p = heads.target(head + h) + at;
        store<N>(p, a);
        store<N>(p + half, b);
      }
  }
}

void check(const at::Tensor& x, const at::Tensor& cos) {
  TORCH_CHECK(x.dim() >= 2 && x.scalar_type() == at::kFloat && x.is_cuda() &&
                  x.device() == cos.device() && x.size(-2) == cos.size(0) &&
                  x.size(-1) == cos.size(1), "expected fp32 CUDA tensors with as many positions "
              "and columns as the tables");
}

bool wide(const at::Tensor& t) { return reinterpret_cast<uintptr_t>(t.data_ptr()) % 16 == 0; }

}  // namespace

std::tuple<at::Tensor, at::Tensor> rotate(at::Tensor queries, at::Tensor keys, at::Tensor cos,
                                          at::Tensor sin) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(cos.dim() == 2 && cos.scalar_type() == at::kFloat && cos.sizes() == sin.sizes() &&
                  sin.scalar_type() == at::kFloat && cos.device() == sin.device() &&
                  cos.size(1) % 2 == 0, "expected two fp32 tables with an even number of columns");
  check(queries, cos);
  check(keys, cos);
  const c10::cuda::CUDAGuard guard(queries.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  queries = queries.contiguous();
  keys = keys.contiguous();
  cos = cos.contiguous();
  sin = sin.contiguous();
  at::Tensor rotated_queries = at::empty_like(queries), rotated_keys = at::empty_like(keys);
  const int64_t positions = cos.size(0), size = cos.numel();
  const int half = static_cast<int>(cos.size(1) / 2);
  if (size == 0) return {rotated_queries, rotated_keys};
  Heads heads = {queries.const_data_ptr<float>(), keys.const_data_ptr<float>(),
                 rotated_queries.mutable_data_ptr<float>(), rotated_keys.mutable_data_ptr<float>(),
                 queries.numel() / size, (queries.numel() + keys.numel()) / size, size};
  if (heads.count == 0) return {rotated_queries, rotated_keys};
  const bool four = half % 4 == 0 && wide(queries) && wide(keys) && wide(cos) && wide(sin);
  const int64_t threads = positions * (half / (four ? 4 : 1));
  const int64_t across = (threads + kThreads - 1) / kThreads;
  const int64_t down = (heads.count + kHeads - 1) / kHeads;
  TORCH_CHECK(across < (int64_t{1} << 31) && down < 65536, "too many blocks for one launch");
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(down));
  const float* cosines = cos.const_data_ptr<float>();
  const float* sines = sin.const_data_ptr<float>();
  if (four)
    rotate_heads<4><<<grid, kThreads, 0, stream>>>(heads, cosines, sines, positions, half);
  else
    rotate_heads<1><<<grid, kThreads, 0, stream>>>(heads, cosines, sines, positions, half);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {rotated_queries, rotated_keys};
}
"""


_extension = load_inline(
    name="kb_rotary_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["rotate"],
    extra_cuda_cflags=["-O3"],
)


def _rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class ModelNew(nn.Module):
    def __init__(self, positions, head_size, base):
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
        angles = torch.outer(torch.arange(positions, dtype=torch.float64), frequencies)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())

    def forward(self, queries, keys):
        if torch.is_grad_enabled():
            return tuple(x * self.cos + _rotate_half(x) * self.sin for x in (queries, keys))
        return _extension.rotate(queries, keys, self.cos, self.sin)
