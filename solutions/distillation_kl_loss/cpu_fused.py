"""Distillation loss (Kullback-Leibler divergence of two softmaxes) on the CPU, one read of both inputs.

With t and s the teacher's and student's logits over the temperature, a row's divergence is

    sum p (t - s) - logsumexp(t) + logsumexp(s),   p = softmax(t).

A thread goes through a row in pieces that fit into L1: it finds a piece's largest t and s, scales down what it has
summed so far where they grew, and adds. No log-probability is ever stored.

Sound because sums are relative to largest values that travel with them; they are kept in double, and the rows are added
in order. The exponential is a polynomial good to about one unit in the last place.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
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

// The larger; a NaN in x does not count.
inline vec larger(vec m, vec x) { return x > m ? x : m; }

inline float lane_max(vec v) {
  float m = v[0];
  for (int i = 1; i < kLanes; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

// exp(x) for x <= 0 is 2^n * e^r with |r| <= ln(2)/2; below -87 it is 0. A NaN stays NaN.
inline vec exponential(vec x) {
  const float limit = -87.f;
  const vec t = x < limit ? splat(limit) : x;
  const float round_magic = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  const vec shifted = t * 1.44269504088896341f + round_magic;
  const vec n = shifted - round_magic;
  // ln(2) in two parts, the first with few enough bits that n * part is exact.
  const vec r = (t - n * 0.693359375f) + n * 2.12194440054690583e-4f;
  // Taylor series to degree 7: the first term left out is below 1e-8 relative.
  vec p = splat(1.f / 5040);
  p = p * r + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  ivec bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits - 0x4B400000 + 127) << 23;  // 0x4B400000 is round_magic's own pattern
  vec power;
  std::memcpy(&power, &bits, sizeof power);
  return x < limit ? splat(0.f) : p * power;
}

constexpr int64_t kPiece = 1024;

inline float safe(float m) { return m == -std::numeric_limits<float>::infinity() ? 0.f : m; }

double divergence_of(const float* student, const float* teacher, int64_t n, float factor) {
  const float lowest = -std::numeric_limits<float>::infinity();
  float most_t = lowest, most_s = lowest;
  double sum_t = 0, sum_s = 0, weighted = 0;
  alignas(64) float s[kPiece], t[kPiece];
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t count = std::min(n - at, kPiece), whole = (count + kLanes - 1) / kLanes * kLanes;
    const int64_t body = count - count % kLanes;
    vec top_t = splat(most_t), top_s = splat(most_s);
    for (int64_t i = 0; i < body; i += kLanes) {
      const vec a = load(teacher + at + i) * factor, b = load(student + at + i) * factor;
      store(t + i, a);
      store(s + i, b);
      top_t = larger(top_t, a);
      top_s = larger(top_s, b);
    }
    float now_t = lane_max(top_t), now_s = lane_max(top_s);
    for (int64_t i = body; i < count; ++i) {
      t[i] = teacher[at + i] * factor;
      s[i] = student[at + i] * factor;
      now_t = t[i] > now_t ? t[i] : now_t;
      now_s = s[i] > now_s ? s[i] : now_s;
    }
    // What fills the last vector is far below everything: its exponentials are 0, and 0 times 0 is added.
    for (int64_t i = count; i < whole; ++i) t[i] = s[i] = -std::numeric_limits<float>::max();
    const float base_t = safe(now_t), base_s = safe(now_s);
    vec part_t = {}, part_s = {}, part_w = {};
    for (int64_t i = 0; i < whole; i += kLanes) {
      const vec a = load(t + i), b = load(s + i), e = exponential(a - base_t);
      part_t += e;
      part_w += e * (a - b);
      part_s += exponential(b - base_s);
    }
    const double keep = std::exp(static_cast<double>(most_t) - base_t);
    sum_t = sum_t * keep + lane_sum(part_t);
    weighted = weighted * keep + lane_sum(part_w);
    sum_s = sum_s * std::exp(static_cast<double>(most_s) - base_s) + lane_sum(part_s);
    most_t = now_t;
    most_s = now_s;
  }
  const double base = static_cast<double>(most_s) - most_t;
  return weighted / sum_t + base + std::log(sum_s) - std::log(sum_t);
}

}  // namespace

at::Tensor divergence(at::Tensor student, at::Tensor teacher, double temperature) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(student.dim() == 2 && student.scalar_type() == at::kFloat && student.device().is_cpu(),
              "expected 2-d fp32 CPU tensors of logits");
  TORCH_CHECK(teacher.scalar_type() == at::kFloat && teacher.sizes() == student.sizes(),
              "student and teacher must be alike");
  student = student.contiguous();
  teacher = teacher.contiguous();
  const int64_t count = student.size(0), vocabulary = student.size(1);
  const float factor = static_cast<float>(1 / temperature);
  const float* s = student.const_data_ptr<float>();
  const float* t = teacher.const_data_ptr<float>();
  std::vector<double> rows(count);
#pragma omp parallel for schedule(static) num_threads(at::get_num_threads())
  for (int64_t r = 0; r < count; ++r)
    rows[r] = divergence_of(s + r * vocabulary, t + r * vocabulary, vocabulary, factor);
  double sum = 0;
  for (int64_t r = 0; r < count; ++r) sum += rows[r];
  return at::full({}, sum * temperature * temperature / static_cast<double>(count),
                  student.options());
}
"""


_extension = load_inline(
    name="kb_distillation_cpu",
    cpp_sources=_CPP,
    functions=["divergence"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-Wno-psabi"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def __init__(self, temperature):
        super().__init__()
        self.temperature = temperature

    def forward(self, student, teacher):
        if torch.is_grad_enabled():
            log_q = F.log_softmax(student / self.temperature, dim=-1)
            log_p = F.log_softmax(teacher / self.temperature, dim=-1)
            return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * self.temperature**2
        return _extension.divergence(student, teacher, self.temperature)
