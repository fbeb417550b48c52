"""LayerScale, residual addition and LayerNorm on the CPU: inputs are read once, outputs written once.

A thread computes a row of the new residual stream, its mean, its variance and its normalised values while the row is
in L1.

Sound because the variance comes from deviations from the mean, not from squares, and both sums meet in double.

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

inline double lane_sum(vec v) {
  double total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

constexpr int64_t kSegment = 1024;  // floats summed in fp32

struct Parameters {
  const float *scale, *weight, *bias;
  double eps;
};

void row(const float* branch, const float* residual, const Parameters& p, int64_t n,
         float* normalised, float* hidden) {
  const int64_t body = n - n % kLanes;
  double sum = 0;
  for (int64_t at = 0; at < body; at += kSegment) {
    vec part = {};
    for (int64_t i = at; i < std::min(body, at + kSegment); i += kLanes) {
      const vec v = load(residual + i) + load(p.scale + i) * load(branch + i);
      store(hidden + i, v);
      part += v;
    }
    sum += lane_sum(part);
  }
  for (int64_t i = body; i < n; ++i) {
    hidden[i] = residual[i] + p.scale[i] * branch[i];
    sum += hidden[i];
  }
  const float mean = static_cast<float>(sum / n);
  double squares = 0;
  for (int64_t at = 0; at < body; at += kSegment) {
    vec part = {};
    for (int64_t i = at; i < std::min(body, at + kSegment); i += kLanes) {
      const vec d = load(hidden + i) - mean;
      part += d * d;
    }
    squares += lane_sum(part);
  }
  for (int64_t i = body; i < n; ++i) {
    const double d = static_cast<double>(hidden[i]) - mean;
    squares += d * d;
  }
  const float factor = static_cast<float>(1 / std::sqrt(squares / n + p.eps));
  for (int64_t i = 0; i < body; i += kLanes)
    store(normalised + i,
          (load(hidden + i) - mean) * factor * load(p.weight + i) + load(p.bias + i));
  for (int64_t i = body; i < n; ++i)
    normalised[i] = (hidden[i] - mean) * factor * p.weight[i] + p.bias[i];
}

at::Tensor parameter(const at::Tensor& p, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.numel() == n, "expected ", n, " fp32 parameters");
  return p.contiguous();
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> add_layernorm(at::Tensor branch, at::Tensor residual,
                                                 at::Tensor scale, at::Tensor weight,
                                                 at::Tensor bias, double eps) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(branch.dim() >= 1 && branch.scalar_type() == at::kFloat && branch.device().is_cpu(),
              "expected an fp32 CPU tensor");
  TORCH_CHECK(residual.scalar_type() == at::kFloat && residual.sizes() == branch.sizes(),
              "branch and residual must be alike");
  const int64_t columns = branch.size(-1);
  branch = branch.contiguous();
  residual = residual.contiguous();
  scale = parameter(scale, columns);
  weight = parameter(weight, columns);
  bias = parameter(bias, columns);
  at::Tensor normalised = at::empty_like(branch), hidden = at::empty_like(branch);
  if (branch.numel() == 0) return {normalised, hidden};
  const Parameters p = {scale.const_data_ptr<float>(), weight.const_data_ptr<float>(),
                        bias.const_data_ptr<float>(), eps};
  const int64_t rows = branch.numel() / columns;
  const float* from = branch.const_data_ptr<float>();
  const float* onto = residual.const_data_ptr<float>();
  float* first = normalised.mutable_data_ptr<float>();
  float* second = hidden.mutable_data_ptr<float>();
#pragma omp parallel for schedule(static) num_threads(at::get_num_threads())
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * columns;
    row(from + at, onto + at, p, columns, first + at, second + at);
  }
  return {normalised, hidden};
}
"""


_extension = load_inline(
    name="kb_add_layernorm_cpu",
    cpp_sources=_CPP,
    functions=["add_layernorm"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-Wno-psabi"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(features))
        self.norm = nn.LayerNorm(features)

    def forward(self, branch, residual):
        norm = self.norm
        if torch.is_grad_enabled():
            hidden = residual + self.scale * branch
            return norm(hidden), hidden
        return _extension.add_layernorm(branch, residual, self.scale, norm.weight, norm.bias, norm.eps)
