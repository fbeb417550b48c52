"""Running sums along rows on the CPU: a vector at a time.

A vector is scanned within itself in a few shifted additions; what precedes it is carried along in double and added.
The chain from vector to vector is a single addition. Rows are shared among the threads.

Sound because the carry is double, so the length of a row costs no precision, and nothing is ever subtracted, so an
infinity does not reach back to what stands before it.

The fused path has no backward: where autograd records, the plain operator runs instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = r"""
#include <ATen/Parallel.h>

#include <cstdint>
#include <cstring>

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

typedef float vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(kLanes * sizeof(float))));

// Lane i gets lane i - kBy; the first kBy lanes get zero.
template <int kBy>
inline vec shifted(vec v) {
  ivec from;
  for (int i = 0; i < kLanes; ++i) from[i] = i < kBy ? kLanes : i - kBy;
  return __builtin_shuffle(v, vec{}, from);
}

inline vec scanned(vec v) {
  v += shifted<1>(v);
  v += shifted<2>(v);
  v += shifted<4>(v);
  if constexpr (kLanes == 16) v += shifted<8>(v);
  return v;
}

void scan_row(const float* in, float* out, int64_t n) {
  double carry = 0;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    vec v;
    std::memcpy(&v, in + i, sizeof v);
    v = scanned(v);
    const double total = v[kLanes - 1];
    v += static_cast<float>(carry);
    carry += total;
    std::memcpy(out + i, &v, sizeof v);
  }
  for (; i < n; ++i) {
    carry += in[i];
    out[i] = static_cast<float>(carry);
  }
}

}  // namespace

at::Tensor cumsum_rows(at::Tensor x) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(x.dim() == 2 && x.scalar_type() == at::kFloat && x.device().is_cpu(),
              "expected a 2-d fp32 CPU tensor");
  x = x.contiguous();
  at::Tensor out = at::empty_like(x);
  const int64_t rows = x.size(0), columns = x.size(1);
  const float* in = x.const_data_ptr<float>();
  float* result = out.mutable_data_ptr<float>();
#pragma omp parallel for schedule(static) num_threads(at::get_num_threads())
  for (int64_t row = 0; row < rows; ++row) scan_row(in + row * columns, result + row * columns, columns);
  return out;
}
"""


_extension = load_inline(
    name="kb_cumsum_rows_cpu",
    cpp_sources=_CPP,
    functions=["cumsum_rows"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-Wno-psabi"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def forward(self, x):
        if torch.is_grad_enabled() or x.dtype != torch.float32 or x.dim() != 2:
            return torch.cumsum(x, dim=1)
        return _extension.cumsum_rows(x)
