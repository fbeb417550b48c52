"""Cross-entropy over a large vocabulary on the CPU, one read of the logits and no other traffic.

A thread goes through a row in pieces that fit into L1: it finds a piece's largest value, scales down what it has summed
so far if that is larger than any before, and adds the piece's exponentials. Log-probabilities are never stored.

Sound because sums are relative to a largest value that travels with them; they are kept in double, as the rows' losses
are, which are added in order. The exponential is a polynomial good to about one unit in the last place.

The fused path has no backward: where autograd records, the plain operator runs instead.
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

// The first n values, the other lanes `rest`.
inline vec load_part(const float* p, int64_t n, float rest) {
  vec v = splat(rest);
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}

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

constexpr int64_t kPiece = 2048;
constexpr int64_t kIgnored = -100;

float log_sum_exp_minus(const float* x, int64_t n, int64_t target) {
  const float lowest = -std::numeric_limits<float>::infinity();
  float largest = lowest;
  double total = 0;
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t end = std::min(n, at + kPiece), body = at + (end - at) / kLanes * kLanes;
    vec most = splat(largest);
    for (int64_t i = at; i < body; i += kLanes) most = larger(most, load(x + i));
    if (body < end) most = larger(most, load_part(x + body, end - body, lowest));
    const float now = lane_max(most);
    // -inf - -inf would be NaN where there is merely nothing yet.
    const float base = now == lowest ? 0.f : now;
    vec sum = {};
    for (int64_t i = at; i < body; i += kLanes) sum += exponential(load(x + i) - base);
    if (body < end) sum += exponential(load_part(x + body, end - body, lowest) - base);
    total = total * std::exp(static_cast<double>(largest) - base) + lane_sum(sum);
    largest = now;
  }
  return static_cast<float>(std::log(total) - (static_cast<double>(x[target]) - largest));
}

}  // namespace

at::Tensor cross_entropy(at::Tensor logits, at::Tensor targets) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(logits.dim() == 2 && logits.scalar_type() == at::kFloat && logits.device().is_cpu(),
              "expected a 2-d fp32 CPU tensor of logits");
  const int64_t rows = logits.size(0), vocabulary = logits.size(1);
  TORCH_CHECK(targets.dim() == 1 && targets.scalar_type() == at::kLong && targets.size(0) == rows,
              "expected ", rows, " int64 targets");
  logits = logits.contiguous();
  targets = targets.contiguous();
  const float* from = logits.const_data_ptr<float>();
  const int64_t* wanted = targets.const_data_ptr<int64_t>();
  for (int64_t r = 0; r < rows; ++r)
    TORCH_CHECK_INDEX(wanted[r] == kIgnored || (wanted[r] >= 0 && wanted[r] < vocabulary),
                      "target ", wanted[r], " is out of bounds");
  std::vector<float> losses(rows);
#pragma omp parallel for schedule(static) num_threads(at::get_num_threads())
  for (int64_t r = 0; r < rows; ++r)
    if (wanted[r] != kIgnored)
      losses[r] = log_sum_exp_minus(from + r * vocabulary, vocabulary, wanted[r]);
  double sum = 0;
  int64_t count = 0;
  for (int64_t r = 0; r < rows; ++r) {
    sum += losses[r];
    count += wanted[r] != kIgnored;
  }
  return at::full({}, sum / static_cast<double>(count), logits.options());
}
"""


_extension = load_inline(
    name="kb_cross_entropy_cpu",
    cpp_sources=_CPP,
    functions=["cross_entropy"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-Wno-psabi"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def forward(self, logits, targets):
        if torch.is_grad_enabled():
            return F.cross_entropy(logits, targets)
        return _extension.cross_entropy(logits, targets)
