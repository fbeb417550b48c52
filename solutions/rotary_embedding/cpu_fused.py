"""Rotary embedding of queries and keys on the CPU: one read and one write of every element.

A thread takes the rows of a head one by one; a row and its cosines and sines are in L1 while both halves are computed.

Nothing is assumed of the tables: their two halves may differ. Each output is two products and one addition, as in the
reference.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = r"""
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

// Vectors are GCC's vector extension: the compiler lowers them to whatever the machine has.
#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

typedef float vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(kLanes * sizeof(float))));

inline vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

inline vec splat(float x) { return x - vec{}; }

void row(const float* x, const float* cos, const float* sin, int64_t half, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const vec first = load(x + i), second = load(x + half + i);
    store(out + i, first * load(cos + i) - second * load(sin + i));
    store(out + half + i, second * load(cos + half + i) + first * load(sin + half + i));
  }
  for (; i < half; ++i) {
    out[i] = x[i] * cos[i] - x[half + i] * sin[i];
    out[half + i] = x[half + i] * cos[half + i] + x[i] * sin[half + i];
  }
}

}  // namespace

at::Tensor rotate(at::Tensor x, at::Tensor cos, at::Tensor sin) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(cos.dim() == 2 && cos.scalar_type() == at::kFloat && cos.sizes() == sin.sizes() &&
                  sin.scalar_type() == at::kFloat && cos.size(1) % 2 == 0,
              "expected two fp32 tables with an even number of columns");
  TORCH_CHECK(x.dim() >= 2 && x.scalar_type() == at::kFloat && x.device().is_cpu() &&
                  x.size(-2) == cos.size(0) && x.size(-1) == cos.size(1),
              "expected an fp32 CPU tensor with as many positions and columns as the tables");
  x = x.contiguous();
  cos = cos.contiguous();
  sin = sin.contiguous();
  at::Tensor out = at::empty_like(x);
  if (x.numel() == 0) return out;
  const int64_t positions = cos.size(0), columns = cos.size(1), rows = x.numel() / columns;
  const float* from = x.const_data_ptr<float>();
  const float* cosines = cos.const_data_ptr<float>();
  const float* sines = sin.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
#pragma omp parallel for schedule(static) num_threads(at::get_num_threads())
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r % positions * columns;
    row(from + r * columns, cosines + at, sines + at, columns / 2, to + r * columns);
  }
  return out;
}
"""


_extension = load_inline(
    name="kb_rotary_cpu",
    cpp_sources=_CPP,
    functions=["rotate"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-Wno-psabi"],
    extra_ldflags=["-fopenmp"],
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
        return tuple(_extension.rotate(x, self.cos, self.sin) for x in (queries, keys))
