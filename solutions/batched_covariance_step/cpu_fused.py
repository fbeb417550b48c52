"""F P F^T + Q for many small matrices on the CPU: each filter's matrices are read once and stay in L1.

A thread copies F transposed and P to rows padded to whole vectors, multiplies with four rows of the result in registers
at a time, and adds Q last. 16 x 16 has loops of fixed length.

Sound for any matrices: nothing is assumed to be symmetric. Padding is zero and never stored.

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

constexpr int kRows = 4;  // of the result held in registers, for one or two vectors of columns

// Rows row .. row + kRows of a (n x n, rows `pitch` apart) times b (n x pitch), columns from `at`.
template <int kVectors>
inline void block(const float* a, const float* b, int64_t n, int64_t pitch, vec (&sums)[kRows][kVectors]) {
  for (int64_t k = 0; k < n; ++k) {
    vec right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + k * pitch + v * kLanes);
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) sums[r][v] += a[r * pitch + k] * right[v];
  }
}

// c = a b, all of `pitch` columns and a multiple of kRows rows.
template <int64_t kSize>
inline void multiply(const float* a, const float* b, int64_t size, int64_t row_count, int64_t columns,
                     float* c) {
  const int64_t n = kSize ? kSize : size, rows = kSize ? kSize : row_count;
  const int64_t pitch = kSize ? kSize : columns;
  constexpr int kVectors = kSize && kSize % kLanes == 0 ? kSize / kLanes : 1;
  for (int64_t row = 0; row < rows; row += kRows)
    for (int64_t at = 0; at < pitch; at += kVectors * kLanes) {
      vec sums[kRows][kVectors] = {};
      block<kVectors>(a + row * pitch, b + at, n, pitch, sums);
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) store(c + (row + r) * pitch + at + v * kLanes, sums[r][v]);
    }
}

// One filter. `space` holds five padded matrices; what is padding in them is zero and stays so, or is never used.
template <int64_t kSize>
inline void filter(const float* f, const float* p, const float* q, int64_t size, int64_t rows,
                   int64_t columns, float* space, float* out) {
  const int64_t n = kSize ? kSize : size, pitch = kSize ? kSize : columns, area = rows * pitch;
  float *left = space, *middle = left + area, *right = middle + area, *product = right + area;
  float* result = product + area;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) right[j * pitch + i] = f[i * n + j];
  if (pitch == n) {
    multiply<kSize>(f, p, n, rows, pitch, product);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(left + i * pitch, f + i * n, n * sizeof(float));
      std::memcpy(middle + i * pitch, p + i * n, n * sizeof(float));
    }
    multiply<kSize>(left, middle, n, rows, pitch, product);
  }
  multiply<kSize>(product, right, n, rows, pitch, result);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) out[i * n + j] = result[i * pitch + j] + q[i * n + j];
}

int64_t rounded_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

at::Tensor covariance_step(at::Tensor transition, at::Tensor covariance, at::Tensor noise) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(transition.dim() == 3 && transition.size(1) == transition.size(2),
              "expected a batch of square matrices");
  for (const at::Tensor& m : {transition, covariance, noise})
    TORCH_CHECK(m.scalar_type() == at::kFloat && m.device().is_cpu() &&
                    m.sizes() == transition.sizes(), "expected three fp32 CPU tensors alike");
  transition = transition.contiguous();
  covariance = covariance.contiguous();
  noise = noise.contiguous();
  at::Tensor out = at::empty_like(transition);
  if (out.numel() == 0) return out;
  const int64_t filters = out.size(0), n = out.size(1), area = n * n;
  const int64_t columns = rounded_up(n, kLanes), rows = rounded_up(n, std::max(kRows, kLanes));
  const float* f = transition.const_data_ptr<float>();
  const float* p = covariance.const_data_ptr<float>();
  const float* q = noise.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
#pragma omp parallel num_threads(at::get_num_threads())
  {
    std::vector<float> space(5 * rows * columns);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < filters; ++i) {
      const int64_t at = i * area;
      if (n == 16)
        filter<16>(f + at, p + at, q + at, n, rows, columns, space.data(), to + at);
      else
        filter<0>(f + at, p + at, q + at, n, rows, columns, space.data(), to + at);
    }
  }
  return out;
}
"""


_extension = load_inline(
    name="kb_covariance_step_cpu",
    cpp_sources=_CPP,
    functions=["covariance_step"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-Wno-psabi"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def forward(self, transition, covariance, noise):
        if torch.is_grad_enabled():
            return torch.bmm(torch.bmm(transition, covariance), transition.transpose(1, 2)) + noise
        return _extension.covariance_step(transition, covariance, noise)
