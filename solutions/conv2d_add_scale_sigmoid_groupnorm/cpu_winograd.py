"""Conv2d, +bias, *scale, sigmoid and GroupNorm on the CPU: rows convolved by Winograd's F(2, 3), fused in forward.

Work is split by image and by as many groups as fit in L2. Two output rows at a time, the four input rows are turned
into four forms, and each form is convolved along the row with its own weights: 4 products where 6 were needed, for
each tap and pair of rows. Sigmoid and moments follow while the rows are in L1; the task's result stays in L2 until
its groups are complete, and only what is normalised goes to memory, past the caches.

Sound because the transform only adds and subtracts two inputs, or halves sums of three weights: in fp32 its error is
of the size of the direct sum's (`_NOTES.md`). An infinity or an overflow would become a NaN in it, so a task that
meets a value that is not finite is convolved again, directly. Two sigmoids share one division; with exponents
within 2^62 their product cannot overflow. The moments are taken around the mean of the segment before, joined in
double.

Only kernels of three rows take this path. It has no backward: where autograd records, and for anything else, the plain
operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = r"""
#include <ATen/Parallel.h>

#ifdef __AVX__
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
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
constexpr int kForms = 4;  // of four input rows, for two output rows
constexpr int64_t kSegment = 512;  // floats of a channel that are activated together, while in L1
constexpr int64_t kHeld = 128 << 10;  // floats of a task's result: half of an L2
constexpr int64_t kLine = 16;  // floats of a cache line

typedef float vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(kLanes * sizeof(float))));

inline vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

inline vec splat(float x) { return x - vec{}; }

// To an aligned place in memory, past the caches.
inline void stream(float* p, vec v) {
#ifdef __AVX512F__
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX__)
  _mm256_stream_ps(p, (__m256)v);
#else
  store(p, v);
#endif
}

inline void end_of_streams() {
#ifdef __AVX__
  _mm_sfence();
#endif
}

// Into [-limit, limit]. A NaN stays NaN: `max` and `min` give their second operand where one is.
inline vec clamp(vec t, float limit) {
#ifdef __AVX512F__
  return (vec)_mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), (__m512)t));
#elif defined(__AVX__)
  return (vec)_mm256_max_ps(_mm256_set1_ps(-limit), _mm256_min_ps(_mm256_set1_ps(limit), (__m256)t));
#else
  t = t > limit ? splat(limit) : t;
  return t < -limit ? splat(-limit) : t;
#endif
}

// Keeps a value in a register. Else GCC loads it anew for each use.
inline vec hold(vec v) {
#ifdef __AVX512F__
  asm("" : "+v"(v));
#elif defined(__AVX__)
  asm("" : "+x"(v));
#endif
  return v;
}

inline float lane_sum(vec v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

struct Lines {
  explicit Lines(int64_t floats) : space(new float[floats + kLine]()) {}

  float* data() const {
    const auto at = reinterpret_cast<uintptr_t>(space.get()), line = kLine * sizeof(float);
    return reinterpret_cast<float*>((at + line - 1) / line * line);
  }

 private:
  std::unique_ptr<float[]> space;
};

// Moments of a channel: sum of values, sum of T*T/k over segments (T a segment's total, k its length), and squared
// deviations from each segment's own mean. Those are taken around `shift`, the mean of the segment before: where it is
// far off, the two segments differ by as much, and so does the group's variance.
struct Moments {
  double sum = 0, between = 0, within = 0;
  float shift = 0.5f;

  // s1 and s2: sums of d and d * d over the k values, d = value - shift.
  void add(double s1, double s2, int64_t k) {
    const double total = static_cast<double>(k) * shift + s1;
    sum += total;
    between += total * total / k;
    within += s2 - s1 * s1 / k;
    shift = static_cast<float>(total / k);
  }

  void add(const Moments& other) {
    sum += other.sum;
    between += other.between;
    within += other.within;
  }

  // Not std::max: that would turn a NaN into 0.
  double squared_deviations(double n) const {
    const double m2 = within + (between - sum * sum / n);
    return m2 < 0 ? 0 : m2;
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

// A valid (unpadded), stride 1 convolution of contiguous fp32 tensors, with kernels of three rows g0, g1, g2.
//
// From input rows d0 .. d3 come output rows 0 and 1 (each product is a convolution along the row):
//   p = (d1 + d2) * (g0 + g1 + g2) / 2    row 0: p + q + (d0 - d2) * g0
//   q = (d2 - d1) * (g0 - g1 + g2) / 2    row 1: p - q - (d1 - d3) * g2
struct Conv {
  int64_t images, in_channels, height, width, channels, kw, rows, cols;
  int64_t pitch;  // of a form's row
  int64_t held_pitch;  // of a channel of a task's result
  const float* input;
  const float* bias;
  const float* weight;

  Conv(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b)
      : images(x.size(0)), in_channels(x.size(1)), height(x.size(2)), width(x.size(3)), channels(w.size(0)),
        kw(w.size(3)), rows(height - 2), cols(width - kw + 1), pitch((width + kLanes - 1 + kLine - 1) / kLine * kLine),
        held_pitch((rows * cols + kLine - 1) / kLine * kLine), input(x.const_data_ptr<float>()),
        bias(b.const_data_ptr<float>()), weight(w.const_data_ptr<float>()) {
    TORCH_CHECK(w.size(1) == in_channels, "expected ", w.size(1), " input channels, got ", in_channels);
    TORCH_CHECK(w.size(2) == 3, "expected a kernel of three rows");
    TORCH_CHECK(rows > 0 && cols > 0, "the input is smaller than the kernel");
  }

  int64_t plane() const { return rows * cols; }
  int64_t form_weights() const { return in_channels * kw * kBlock; }
  int64_t form_values() const { return in_channels * pitch; }

  // Weights of channels first .. first+count as [block][form][tap][kBlock], unused channels zero.
  std::vector<float> pack(int64_t first, int64_t count) const {
    std::vector<float> packed((count + kBlock - 1) / kBlock * kForms * form_weights());
    for (int64_t o = 0; o < count; ++o)
      for (int64_t i = 0; i < in_channels; ++i)
        for (int64_t x = 0; x < kw; ++x) {
          const float* g = weight + ((first + o) * in_channels + i) * 3 * kw + x;
          const double g0 = g[0], g1 = g[kw], g2 = g[2 * kw];
          float* to = &packed[o / kBlock * kForms * form_weights() + (i * kw + x) * kBlock + o % kBlock];
          to[0] = static_cast<float>(g0);
          to[form_weights()] = static_cast<float>((g0 + g1 + g2) / 2);
          to[2 * form_weights()] = static_cast<float>((g0 - g1 + g2) / 2);
          to[3 * form_weights()] = static_cast<float>(-g2);
        }
    return packed;
  }

  // Input rows row .. row+3 as [form][in_channel][pitch]. A row below the last one counts as zeros.
  void transform(int64_t image, int64_t row, float* forms) const {
    const bool all = row + 3 < height;
    const int64_t form = form_values();
    for (int64_t i = 0; i < in_channels; ++i, forms += pitch) {
      const float* d = input + ((image * in_channels + i) * height + row) * width;
      const auto put = [=](int64_t x, auto d0, auto d1, auto d2, auto d3, auto save) {
        save(forms + x, d0 - d2);
        save(forms + x + form, d1 + d2);
        save(forms + x + 2 * form, d2 - d1);
        save(forms + x + 3 * form, d1 - d3);
      };
      int64_t x = 0;
      for (; x + kLanes <= width; x += kLanes) {
        __builtin_prefetch(d + x + 4 * width);  // for the next two rows
        __builtin_prefetch(d + x + 5 * width);
        put(x, load(d + x), load(d + x + width), load(d + x + 2 * width), all ? load(d + x + 3 * width) : vec{}, store);
      }
      for (; x < width; ++x)
        put(x, d[x], d[x + width], d[x + 2 * width], all ? d[x + 3 * width] : 0.f, [](float* p, float v) { *p = v; });
    }
  }

  // Two rows, or the first of them, of up to kBlock channels from `first` on.
  void pair(const float* forms, const float* packed, int64_t first, int64_t count, bool both, float* out) const {
    const int64_t vectors = (cols + kLanes - 1) / kLanes;
    int64_t v = 0;
    for (; v + kTile <= vectors && cols >= kTile * kLanes; v += kTile) {
      // The last tile overlaps its neighbour: same sums in the same order, so same values.
      const int64_t c = std::min<int64_t>(v * kLanes, cols - kTile * kLanes);
      tile<kTile>(forms + c, packed, first, count, both, out + c, kLanes);
    }
    for (; v < vectors; ++v) {
      const int64_t c = std::max<int64_t>(0, std::min<int64_t>(v * kLanes, cols - kLanes));
      tile<1>(forms + c, packed, first, count, both, out + c, std::min<int64_t>(kLanes, cols));
    }
  }

  // One row of one channel, as the reference has it.
  void direct(int64_t image, int64_t o, int64_t row, float* out) const {
    std::fill(out, out + cols, 0.f);
    const float* w = weight + o * in_channels * 3 * kw;
    for (int64_t i = 0; i < in_channels; ++i)
      for (int64_t y = 0; y < 3; ++y)
        for (int64_t x = 0; x < kw; ++x, ++w) {
          const float* in = input + ((image * in_channels + i) * height + row + y) * width + x;
          for (int64_t c = 0; c < cols; ++c) out[c] += in[c] * *w;
        }
    for (int64_t c = 0; c < cols; ++c) out[c] += bias[o];
  }

 private:
  template <int kVectors>
  struct Sums {
    vec at[kBlock][kVectors];
  };

  // Through a copy, so that the sums stay in registers.
  template <int kVectors>
  __attribute__((always_inline)) void accumulate(const float* forms, const float* packed, Sums<kVectors>& sums) const {
    vec acc[kBlock][kVectors];
#pragma GCC unroll 4
    for (int o = 0; o < kBlock; ++o)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[o][v] = sums.at[o][v];
    for (int64_t i = 0; i < in_channels; ++i, forms += pitch)
      for (int64_t x = 0; x < kw; ++x, packed += kBlock) {
        vec value[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) value[v] = hold(load(forms + x + v * kLanes));
#pragma GCC unroll 4
        for (int o = 0; o < kBlock; ++o) {
          const vec w = splat(packed[o]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) acc[o][v] += value[v] * w;
        }
      }
#pragma GCC unroll 4
    for (int o = 0; o < kBlock; ++o)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums.at[o][v] = acc[o][v];
  }

  // Not inlined: whether the sums stay in registers must not depend on the caller.
  template <int kVectors>
  __attribute__((noinline)) void tile(const float* forms, const float* packed, int64_t first, int64_t count, bool both,
                                      float* out, int64_t lanes) const {
    Sums<kVectors> even = {}, odd = {};
    accumulate(forms + form_values(), packed + form_weights(), even);
    accumulate(forms + 2 * form_values(), packed + 2 * form_weights(), odd);
#pragma GCC unroll 4
    for (int o = 0; o < kBlock; ++o)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const vec sum = even.at[o][v] + odd.at[o][v];
        odd.at[o][v] = even.at[o][v] - odd.at[o][v];
        even.at[o][v] = sum;
      }
    accumulate(forms, packed, even);
    finish(even, first, count, out, lanes);
    if (!both) return;
    accumulate(forms + 3 * form_values(), packed + 3 * form_weights(), odd);
    finish(odd, first, count, out + cols, lanes);
  }

  // The bias comes last: a large one must not cost every partial sum its low bits.
  template <int kVectors>
  void finish(const Sums<kVectors>& sums, int64_t first, int64_t count, float* out, int64_t lanes) const {
    for (int o = 0; o < kBlock && o < count; ++o, out += held_pitch)
      for (int v = 0; v < kVectors; ++v) {
        const vec y = sums.at[o][v] + bias[first + o];
        if (lanes == kLanes) store(out + v * kLanes, y);
        else for (int64_t l = 0; l < lanes; ++l) out[l] = y[l];
      }
  }
};

// 1 + exp(-x). exp(-x) is 2^n * 2^r with |r| <= 1/2. What rounding adds to the exponent is what rounding adds to x.
// Beyond the limit the sigmoid is 0 or 1 to within 2^-62.
inline vec one_plus_exp(vec x) {
  const vec t = clamp(x * -1.44269504088896341f, 62.f);
  const float round_magic = 12582912.f + 127.f;  // 1.5 * 2^23 rounds to an integer; 127 is an exponent's bias
  const vec shifted = t + round_magic;
  const vec r = t - (shifted - round_magic);
  // Minimax of relative error, 1.5e-8.
  vec p = splat(1.53551548e-4f);
  p = p * r + 1.33989356e-3f;
  p = p * r + 9.61842947e-3f;
  p = p * r + 5.55033237e-2f;
  p = p * r + 2.40226477e-1f;
  p = p * r + 6.93147182e-1f;
  p = p * r + 1.f;
  ivec bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;  // all but n + 127 falls off
  vec power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power + 1.f;
}

// p[i] = sigmoid((p[i] + bias) * scale), and their moments. False where a p[i] was not finite.
bool activate(float* p, int64_t n, float bias, float scale, Moments& moments, bool first) {
  const int64_t body = n - n % (2 * kLanes);
  vec s1 = {}, s2 = {}, zero = {};
  const auto gather = [&](vec s) {
    const vec d = s - moments.shift;
    s1 += d;
    s2 += d * d;
  };
  for (int64_t i = 0; i < body; i += 2 * kLanes) {
    const vec y0 = load(p + i), y1 = load(p + i + kLanes);
    zero += y0 * 0.f;
    zero += y1 * 0.f;
    const vec a = one_plus_exp((y0 + bias) * scale), b = one_plus_exp((y1 + bias) * scale);
    const vec inverse = 1.f / (a * b);
    const vec first_half = inverse * b, second_half = inverse * a;
    store(p + i, first_half);
    store(p + i + kLanes, second_half);
    gather(first_half);
    gather(second_half);
  }
  for (int64_t i = body; i < n; i += kLanes) {
    const int64_t size = std::min<int64_t>(kLanes, n - i) * sizeof(float);
    vec y = {};
    std::memcpy(&y, p + i, size);
    zero += y * 0.f;
    y = 1.f / one_plus_exp((y + bias) * scale);
    std::memcpy(p + i, &y, size);
  }
  if (first) {
    // No segment before: its own mean.
    float total = lane_sum(s1);
    for (int64_t i = body; i < n; ++i) total += p[i] - moments.shift;
    moments.shift += total / n;
    s1 = s2 = vec{};
    for (int64_t i = 0; i < body; i += kLanes) gather(load(p + i));
  }
  double d1 = lane_sum(s1), d2 = lane_sum(s2);
  for (int64_t i = body; i < n; ++i) {
    const double d = static_cast<double>(p[i]) - moments.shift;
    d1 += d;
    d2 += d * d;
  }
  moments.add(d1, d2, n);
  return lane_sum(zero) == 0;
}

void normalise(const float* p, int64_t n, const Affine& affine, float* out) {
  int64_t i = 0;
  for (; i < n && reinterpret_cast<uintptr_t>(out + i) % sizeof(vec) != 0; ++i) out[i] = affine(p[i]);
  for (; i + kLanes <= n; i += kLanes) stream(out + i, affine(load(p + i)));
  for (; i < n; ++i) out[i] = affine(p[i]);
}

}  // namespace

at::Tensor conv_sigmoid_groupnorm(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor bias,
                                  at::Tensor scale, at::Tensor gamma, at::Tensor beta, int64_t groups, double eps) {
  at::NoGradGuard no_grad;
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

  const int threads = at::get_num_threads();
  int64_t joint = 1;  // groups of one task
  while (groups % (2 * joint) == 0 && 2 * joint * per_group * plane <= kHeld &&
         conv.images * groups / (2 * joint) >= 8 * threads)
    joint *= 2;
  const int64_t count = joint * per_group, parts = groups / joint;  // channels of a task, tasks of an image
  std::vector<std::vector<float>> packed;
  for (int64_t part = 0; part < parts; ++part) packed.push_back(conv.pack(part * count, count));
  const int64_t band = std::max<int64_t>(1, kSegment / conv.cols / 2) * 2;

#pragma omp parallel num_threads(threads)
  {
    const Lines forms(kForms * conv.form_values()), held(count * conv.held_pitch);
    std::vector<Moments> moments(count);

    // Sigmoids and moments of a task; false where a convolution was not finite.
    const auto compute = [&](int64_t image, int64_t part, bool direct) {
      const int64_t begin = part * count;
      bool finite = true;
      int64_t done = 0;  // values of each channel that are activated
      std::fill(moments.begin(), moments.end(), Moments());
      for (int64_t row = 0; row < conv.rows; row += band) {
        const int64_t end = std::min(row + band, conv.rows);
        for (int64_t r = row; r < end; r += 2) {
          float* at = held.data() + r * conv.cols;
          if (direct) {
            for (int64_t o = 0; o < count; ++o)
              for (int64_t k = 0; k < 2 && r + k < end; ++k)
                conv.direct(image, begin + o, r + k, at + o * conv.held_pitch + k * conv.cols);
            continue;
          }
          conv.transform(image, r, forms.data());
          const float* weights = packed[part].data();
          for (int64_t o = 0; o < count; o += kBlock, weights += kForms * conv.form_weights())
            conv.pair(forms.data(), weights, begin + o, count - o, r + 1 < end, at + o * conv.held_pitch);
        }
        // Whole pairs of vectors, whatever a row's length; the rest with the next rows.
        const int64_t until = end == conv.rows ? plane : end * conv.cols / (2 * kLanes) * (2 * kLanes);
        if (until == done) continue;
        for (int64_t o = 0; o < count; ++o)
          finite &= activate(held.data() + o * conv.held_pitch + done, until - done, biases[begin + o],
                             scales[begin + o], moments[o], done == 0);
        done = until;
      }
      return finite;
    };

#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t task = 0; task < conv.images * parts; ++task) {
      const int64_t image = task / parts, part = task % parts;
      if (!compute(image, part, false)) compute(image, part, true);
      for (int64_t group = 0; group < count; group += per_group) {
        Moments all;
        for (int64_t o = group; o < group + per_group; ++o) all.add(moments[o]);
        const double size = static_cast<double>(per_group * plane);
        const double mean = all.sum / size;
        const double rstd = 1 / std::sqrt(all.squared_deviations(size) / size + eps);
        for (int64_t o = group; o < group + per_group; ++o) {
          const int64_t channel = part * count + o;
          normalise(held.data() + o * conv.held_pitch, plane, Affine(mean, rstd * gammas[channel], betas[channel]),
                    result + (image * conv.channels + channel) * plane);
        }
      }
    }
    end_of_streams();
  }
  return out;
}
"""


_extension = load_inline(
    name="kb_conv_sigmoid_groupnorm_winograd_cpu",
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
        if torch.is_grad_enabled() or not self._fits(x):
            return self._plain(x)
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

    def _fits(self, x):
        conv = self.conv
        per_channel = (conv.out_channels, 1, 1)
        tensors = (x, *self.parameters())
        return (
            x.dim() == 4
            and conv.kernel_size[0] == 3
            and self.bias.shape == per_channel
            and self.scale.shape == per_channel
            and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
        )

    def _plain(self, x):
        """The same function out of operators that autograd knows."""
        return self.group_norm(torch.sigmoid((self.conv(x) + self.bias) * self.scale))
