"""Conv2d, +bias, *scale, sigmoid and GroupNorm on the CPU, fused in forward.

Work is split by image and group. A thread convolves a few rows of a group's channels with its
own register-blocked direct convolution, applies bias, scale and sigmoid while they are in L1 and
gathers the group's moments; when the group is complete, it normalises it in place while it is
still in the thread's cache. So the output is written to memory once and nothing else is.

Sound because the moments are deviations from each segment's own mean, joined in double, and the
sigmoid's exponential is a range-reduced polynomial good to about one unit in the last place.

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
#include <vector>

namespace {

// Vectors are GCC's vector extension: the compiler lowers them to whatever the machine has.
#ifdef __AVX512F__
constexpr int kLanes = 16;
constexpr int kTile = 4;  // vectors of one row held in registers, for each of kBlock channels
#else
constexpr int kLanes = 8;
constexpr int kTile = 2;
#endif
constexpr int kBlock = 4;  // output channels computed together
constexpr int64_t kSegment = 1024;  // floats that share one local mean; small enough for L1

typedef float vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(kLanes * sizeof(float))));

inline vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

inline vec splat(float x) { return x - vec{}; }

// Keeps a value in a register. Else GCC loads it anew for each use, and unaligned loads, not
// arithmetic, set the convolution's pace.
inline vec hold(vec v) {
#ifdef __AVX512F__
  asm("" : "+v"(v));
#elif defined(__AVX__)
  asm("" : "+x"(v));
#endif
  return v;
}

inline double lane_sum(vec v) {
  double total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

// Count-free moments: sum of values, sum of T*T/k over segments (T a segment's total, k its
// length), and squared deviations from each segment's own mean. The segment totals are combined
// in double, so nothing cancels in fp32 however far the mean is from zero.
struct Moments {
  double sum = 0, between = 0, within = 0;

  void add(const float* p, int64_t n) {
    for (int64_t at = 0; at < n; at += kSegment) add_segment(p + at, std::min(kSegment, n - at));
  }

  // Not std::max: that would turn a NaN into 0.
  double squared_deviations(double n) const {
    const double m2 = within + (between - sum * sum / n);
    return m2 < 0 ? 0 : m2;
  }

 private:
  void add_segment(const float* p, int64_t k) {
    const int64_t body = k - k % kLanes;
    vec lanes = {};
    for (int64_t i = 0; i < body; i += kLanes) lanes += load(p + i);
    double rough = lane_sum(lanes);
    for (int64_t i = body; i < k; ++i) rough += p[i];

    // Deviations from a rounded mean; their own sum corrects for the rounding.
    const float shift = static_cast<float>(rough / k);
    vec d1 = {}, d2 = {};
    for (int64_t i = 0; i < body; i += kLanes) {
      const vec d = load(p + i) - shift;
      d1 += d;
      d2 += d * d;
    }
    double s1 = lane_sum(d1), s2 = lane_sum(d2);
    for (int64_t i = body; i < k; ++i) {
      const double d = static_cast<double>(p[i]) - shift;
      s1 += d;
      s2 += d * d;
    }
    const double total = static_cast<double>(k) * shift + s1;
    sum += total;
    between += total * total / k;
    within += s2 - s1 * s1 / k;
  }
};

// y = (x - mean) * gain + offset. The part of the mean that fp32 cannot hold goes into offset.
struct Affine {
  float mean, gain, offset;

  Affine(double exact_mean, double exact_gain, double shift)
      : mean(static_cast<float>(exact_mean)), gain(static_cast<float>(exact_gain)) {
    offset = static_cast<float>(shift - (exact_mean - mean) * exact_gain);
  }

  template <typename T>
  T operator()(T x) const {
    return (x - mean) * gain + offset;
  }
};

// A valid (unpadded), stride 1 convolution of contiguous fp32 tensors.
struct Conv {
  int64_t images, in_channels, height, width, channels, kh, kw, rows, cols;
  const float* input;
  const float* bias;
  const float* weight;

  Conv(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b)
      : images(x.size(0)), in_channels(x.size(1)), height(x.size(2)), width(x.size(3)),
        channels(w.size(0)), kh(w.size(2)), kw(w.size(3)), rows(height - kh + 1),
        cols(width - kw + 1), input(x.const_data_ptr<float>()), bias(b.const_data_ptr<float>()),
        weight(w.const_data_ptr<float>()) {
    TORCH_CHECK(w.size(1) == in_channels, "expected ", w.size(1), " input channels, got ",
                in_channels);
    TORCH_CHECK(rows > 0 && cols > 0, "the input is smaller than the kernel");
  }

  int64_t taps() const { return in_channels * kh * kw; }
  int64_t plane() const { return rows * cols; }
  int64_t band_rows() const { return std::max<int64_t>(1, kSegment / cols); }

  // Weights of channels first .. first+count as [tap][kBlock], unused channels zero.
  void pack(int64_t first, int64_t count, float* packed) const {
    for (int64_t t = 0; t < taps(); ++t)
      for (int64_t o = 0; o < kBlock; ++o)
        packed[t * kBlock + o] = o < count ? weight[(first + o) * taps() + t] : 0.f;
  }

  // Rows row .. row+n of channels first .. first+count of one image, written to out + o * plane().
  void band(int64_t image, int64_t first, int64_t count, const float* packed, int64_t row,
            int64_t n, float* out) const {
    for (int64_t r = row; r < row + n; ++r) {
      const float* in = input + (image * in_channels * height + r) * width;
      float* dst = out + r * cols;
      int64_t c = 0;
      for (; c + kTile * kLanes <= cols; c += kTile * kLanes)
        tile<kTile>(in + c, first, count, packed, dst + c);
      if (c < cols && cols >= kTile * kLanes) {
        // The last tile overlaps its neighbour: same sums in the same order, so same values.
        const int64_t need = (cols - c + kLanes - 1) / kLanes;
        c = cols - need * kLanes;
        if (need == 1) tile<1>(in + c, first, count, packed, dst + c);
        else if (need == 2) tile<2>(in + c, first, count, packed, dst + c);
        else tile<kTile>(in + cols - kTile * kLanes, first, count, packed,
                         dst + cols - kTile * kLanes);
        continue;
      }
      for (; c + kLanes <= cols; c += kLanes)
        tile<1>(in + c, first, count, packed, dst + c);
      if (c < cols && cols >= kLanes)
        tile<1>(in + cols - kLanes, first, count, packed, dst + cols - kLanes);
      else
        for (; c < cols; ++c) single(in + c, first, count, packed, dst + c);
    }
  }

 private:
  // Not inlined: whether the sums stay in registers must not depend on the caller.
  template <int kVectors>
  __attribute__((noinline)) void tile(const float* in, int64_t first, int64_t count,
                                      const float* packed, float* out) const {
    static_assert(kBlock == 4, "four channels are written out below");
    vec acc[kBlock][kVectors] = {};
    for (int64_t i = 0; i < in_channels; ++i)
      for (int64_t y = 0; y < kh; ++y) {
        const float* line = in + (i * height + y) * width;
        for (int64_t x = 0; x < kw; ++x, packed += kBlock) {
          const vec w0 = hold(splat(packed[0])), w1 = hold(splat(packed[1]));
          const vec w2 = hold(splat(packed[2])), w3 = hold(splat(packed[3]));
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) {
            const vec value = hold(load(line + x + v * kLanes));
            acc[0][v] += value * w0;
            acc[1][v] += value * w1;
            acc[2][v] += value * w2;
            acc[3][v] += value * w3;
          }
        }
      }
    // The bias comes last: a large one must not cost every partial sum its low bits.
    for (int64_t o = 0; o < kBlock && o < count; ++o)
      for (int v = 0; v < kVectors; ++v)
        store(out + o * plane() + v * kLanes, acc[o][v] + bias[first + o]);
  }

  // Rows narrower than one vector.
  void single(const float* in, int64_t first, int64_t count, const float* packed,
              float* out) const {
    for (int64_t o = 0; o < count; ++o) {
      float acc = 0;
      const float* w = packed + o;
      for (int64_t i = 0; i < in_channels; ++i)
        for (int64_t y = 0; y < kh; ++y)
          for (int64_t x = 0; x < kw; ++x, w += kBlock)
            acc += in[(i * height + y) * width + x] * *w;
      out[o * plane()] = acc + bias[first + o];
    }
  }
};

void check_input(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == at::kFloat && x.device().is_cpu(),
              "expected a 4-d fp32 CPU tensor");
}

}  // namespace

namespace {

// exp(-x) is 2^n * e^r with |r| <= ln(2)/2. The clamp keeps 2^n a normal number; beyond it the
// sigmoid is 0 or 1 to within 1e-37. A NaN fails both comparisons and stays NaN.
inline vec sigmoid(vec x) {
  const float limit = 87.f;
  vec t = -x;
  t = t > limit ? splat(limit) : t;
  t = t < -limit ? splat(-limit) : t;
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
  return 1.f / (1.f + p * power);
}

// p[i] = sigmoid((p[i] + bias) * scale)
void activate(float* p, int64_t n, float bias, float scale) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(p + i, sigmoid((load(p + i) + bias) * scale));
  if (i < n) {
    vec last = {};
    std::memcpy(&last, p + i, (n - i) * sizeof(float));
    last = sigmoid((last + bias) * scale);
    std::memcpy(p + i, &last, (n - i) * sizeof(float));
  }
}

}  // namespace

at::Tensor conv_sigmoid_groupnorm(at::Tensor x, at::Tensor weight, at::Tensor conv_bias,
                                  at::Tensor bias, at::Tensor scale, at::Tensor gamma,
                                  at::Tensor beta, int64_t groups, double eps) {
  at::NoGradGuard no_grad;
  check_input(x);
  x = x.contiguous();
  weight = weight.contiguous();
  conv_bias = conv_bias.contiguous();
  bias = bias.contiguous();
  scale = scale.contiguous();
  gamma = gamma.contiguous();
  beta = beta.contiguous();
  const Conv conv(x, weight, conv_bias);
  const int64_t per_group = conv.channels / groups, plane = conv.plane();
  const float* biases = bias.const_data_ptr<float>();
  const float* scales = scale.const_data_ptr<float>();
  const float* gammas = gamma.const_data_ptr<float>();
  const float* betas = beta.const_data_ptr<float>();
  at::Tensor out = at::empty({conv.images, conv.channels, conv.rows, conv.cols}, x.options());
  float* result = out.mutable_data_ptr<float>();

  const int64_t tasks = conv.images * groups;
#pragma omp parallel num_threads(at::get_num_threads())
  {
    std::vector<float> packed(conv.taps() * kBlock);
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < tasks; ++task) {
      const int64_t image = task / groups, begin = task % groups * per_group;
      const int64_t end = begin + per_group;
      Moments moments;
      for (int64_t first = begin; first < end; first += kBlock) {
        const int64_t count = std::min<int64_t>(kBlock, end - first);
        float* block = result + (image * conv.channels + first) * plane;
        conv.pack(first, count, packed.data());
        for (int64_t row = 0; row < conv.rows; row += conv.band_rows()) {
          const int64_t n = std::min(conv.band_rows(), conv.rows - row);
          conv.band(image, first, count, packed.data(), row, n, block);
          for (int64_t o = 0; o < count; ++o) {
            float* span = block + o * plane + row * conv.cols;
            activate(span, n * conv.cols, biases[first + o], scales[first + o]);
            moments.add(span, n * conv.cols);
          }
        }
      }
      const double size = static_cast<double>(per_group * plane);
      const double mean = moments.sum / size;
      const double rstd = 1 / std::sqrt(moments.squared_deviations(size) / size + eps);
      for (int64_t c = begin; c < end; ++c) {
        const Affine normalise(mean, rstd * gammas[c], betas[c]);
        float* p = result + (image * conv.channels + c) * plane;
        int64_t i = 0;
        for (; i + kLanes <= plane; i += kLanes) store(p + i, normalise(load(p + i)));
        for (; i < plane; ++i) p[i] = normalise(p[i]);
      }
    }
  }
  return out;
}
"""


_extension = load_inline(
    name="kb_conv_sigmoid_groupnorm_cpu",
    cpp_sources=_CPP,
    functions=["conv_sigmoid_groupnorm"],
    extra_cflags=["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-Wno-psabi"],
    extra_ldflags=["-fopenmp"],
)


class ModelNew(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, num_groups, bias_shape, scale_shape):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bias = nn.Parameter(torch.randn(bias_shape))
        self.scale = nn.Parameter(torch.randn(scale_shape))
        self.group_norm = nn.GroupNorm(num_groups, out_channels)

    def forward(self, x):
        if torch.is_grad_enabled():
            return self._recorded(x)
        norm = self.group_norm
        return _extension.conv_sigmoid_groupnorm(
            x,
            self.conv.weight,
            self.conv.bias,
            self.bias,
            self.scale,
            norm.weight,
            norm.bias,
            norm.num_groups,
            norm.eps,
        )

    def _recorded(self, x):
        """The same function out of operators that autograd knows."""
        return self.group_norm(torch.sigmoid((self.conv(x) + self.bias) * self.scale))
