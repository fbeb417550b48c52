"""Conv2d, +bias, *scale, sigmoid and GroupNorm on the CPU, fused in forward.

A thread takes an image's channels, or a part of them. It convolves four rows at a time; bias, scale, sigmoid and the
groups' moments follow in registers, and when the image is complete it is normalised in place while it is in the cache.
So the output is written to memory once and nothing else is.

The convolution is Winograd's F(4, 3) down the columns: half the products of the plain sums, all in fp32. Its error
follows the largest value among its inputs. Where that lies far above their mean, or is not finite, the plain sums are
taken. The moments are about a pivot near each channel's mean and are joined in double in a fixed order.

The sigmoid's exponential is a range-reduced polynomial good to about one unit in the last place. Other shapes, dtypes,
and calls that autograd records take the plain operators.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = r"""
#include <ATen/Parallel.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Vectors are GCC's vector extension: the compiler lowers them to whatever the machine has.
constexpr int kLanes = 8;
constexpr int kIn = 8;      // input channels
constexpr int kBlock = 4;   // output channels computed together
constexpr int kRows = 4;    // output rows computed together, out of kPoints input rows
constexpr int kPoints = 6;
constexpr int kTaps = 3 * kIn;  // products of one output at one point
constexpr int64_t kLeastCols = 3 * kLanes;

typedef float vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(kLanes * sizeof(float))));
typedef double dvec __attribute__((vector_size(kLanes * sizeof(double))));

inline vec load(const float* p) {
  vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

inline vec splat(float x) { return x - vec{}; }

inline dvec widen(vec v) { return __builtin_convertvector(v, dvec); }

// Keeps a value in a register: else GCC loads it anew for each use.
inline vec hold(vec v) {
#ifdef __AVX__
  asm("" : "+x"(v));
#endif
  return v;
}

// All but the first `skip` lanes.
inline ivec lanes_from(int skip) {
  ivec lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return lane >= skip;
}

// Moments of one channel about a pivot taken from its own first values, so that little cancels
// however far the mean is from zero. Lanes are fp32 within a few rows and double beyond.
struct Moments {
  dvec sum = {}, square = {};
  vec part_sum = {}, part_square = {};
  float pivot = 0;

  void set_pivot(vec v) {
    double mean = 0;
    for (int i = 0; i < kLanes; ++i) mean += v[i] / kLanes;
    pivot = std::abs(mean) < 1e30 ? static_cast<float>(mean) : 0.f;
  }

  void flush() {
    sum += widen(part_sum);
    square += widen(part_square);
    part_sum = part_square = vec{};
  }
};

// Count, mean and squared deviations, in double.
struct Summary {
  double n = 0, mean = 0, m2 = 0;

  Summary() = default;
  Summary(const Moments& m, double count) : n(count) {
    double s1 = 0, s2 = 0;
    for (int i = 0; i < kLanes; ++i) s1 += m.sum[i], s2 += m.square[i];
    mean = m.pivot + s1 / n;
    m2 = s2 - s1 * s1 / n;
    m2 = m2 < 0 ? 0 : m2;  // a NaN stays
  }

  void merge(const Summary& o) {
    const double total = n + o.n, d = o.mean - mean;
    m2 += o.m2 + d * d * (n * o.n / total);
    mean += d * (o.n / total);
    n = total;
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

// A valid 3x3 convolution of contiguous fp32, 8 input channels. Rows go through Winograd's
// F(4, 3): four outputs of a column take 6 products for 12. Where the input's own values lie so
// far apart that the transform would mix large with small, or are not finite, the sums are taken
// as they stand.
struct Conv {
  int64_t height, width, rows, cols, channels;
  const float* input;
  const float* weight;
  const float* bias;
  std::vector<float> packed;  // [channel / kBlock][point][tap][kBlock]
  float heaviest = 0;         // no sum exceeds this many times the largest input

  int64_t plane() const { return rows * cols; }
  int64_t stride() const { return width + 2 * kLanes; }

  void pack() {
    packed.resize(channels * kPoints * kTaps);
    for (int64_t c = 0; c < channels; ++c) {
      float total = 0;
      for (int t = 0; t < kTaps; ++t) {
        const float* w = weight + (c * kIn + t / 3) * 9 + t % 3;
        const double g0 = w[0], g1 = w[3], g2 = w[6];
        const double u[kPoints] = {g0 / 4, -(g0 + g1 + g2) / 6, -(g0 - g1 + g2) / 6,
                                   (g0 + 2 * g1 + 4 * g2) / 24, (g0 - 2 * g1 + 4 * g2) / 24, g2};
        float* to = packed.data() + c / kBlock * kBlock * kPoints * kTaps + c % kBlock;
        for (int p = 0; p < kPoints; ++p) {
          to[(p * kTaps + t) * kBlock] = static_cast<float>(u[p]);
          total += 100 * std::abs(static_cast<float>(u[p]));
        }
      }
      heaviest = total > heaviest || total != total ? total : heaviest;
    }
  }

  // Calls sink.take<T>(channel, row, col, y, valid, skip, calm) with T vectors of up to four rows
  // of every channel in [begin, end), and sink.end_rows(row, valid) after each such strip.
  // Of the first vector the first `skip` lanes have been given before. v: kPoints * kIn * stride().
  template <typename Sink>
  void run(int64_t image, int64_t begin, int64_t end, float* v, Sink& sink) const {
    const float* in = input + image * kIn * height * width;
    const int64_t vectors = (cols + kLanes - 1) / kLanes;
    const int64_t twos = (3 - vectors % 3) % 3, threes = (vectors - 2 * twos) / 3;
    for (int64_t row = 0; row < rows; row += kRows) {
      const int valid = static_cast<int>(std::min<int64_t>(kRows, rows - row));
      const bool calm = transform(in, row, v);
      if (!calm) plain(in, row, valid, begin, end, sink);
      int64_t col = 0;
      for (int64_t k = 0; calm && k < threes + twos; ++k) {
        const int64_t size = (k < threes ? 3 : 2) * kLanes;
        const int skip = static_cast<int>(std::max<int64_t>(0, col + size - cols));
        if (k < threes) tiles<3>(v + col - skip, row, col - skip, valid, skip, begin, end, sink);
        else tiles<2>(v + col - skip, row, col - skip, valid, skip, begin, end, sink);
        col += size;
      }
      sink.end_rows(row, valid);
    }
  }

 private:
  // The transform of kPoints input rows. Returns whether it may be used.
  bool transform(const float* in, int64_t row, float* v) const {
    vec most = {}, total = {};
    const int64_t plane_in = height * width, step = stride(), next = kIn * step;
    const int have = static_cast<int>(std::min<int64_t>(kPoints, height - row));
    for (int64_t i = 0; i < kIn; ++i)
      for (int64_t c = 0; c < width; c += kLanes) {
        const int64_t at = std::min(c, width - kLanes);
        const float* p = in + i * plane_in + row * width + at;
        vec d[kPoints] = {};
        for (int r = 0; r < kPoints; ++r)
          if (r < have) d[r] = load(p + r * width);
        for (int r = 0; r < kPoints; ++r) {
          const vec a = d[r] < 0.f ? -d[r] : d[r];
          most = a > most ? a : most;
          total += a;
        }
        float* to = v + i * step + at;
        const vec a = d[4] - 4.f * d[2], b = d[3] - 4.f * d[1];
        const vec e = d[4] - d[2], f = 2.f * (d[3] - d[1]);
        store(to, 4.f * d[0] - 5.f * d[2] + d[4]);
        store(to + next, a + b);
        store(to + 2 * next, a - b);
        store(to + 3 * next, e + f);
        store(to + 4 * next, e - f);
        store(to + 5 * next, 4.f * d[1] - 5.f * d[3] + d[5]);
      }
    float largest = 0;
    double sum = 0;
    for (int i = 0; i < kLanes; ++i) {
      largest = std::max(largest, most[i]);
      sum += total[i];
    }
    return largest * (kIn * have * width) <= 16 * sum && largest * heaviest < 1e15f;
  }

  template <int T, typename Sink>
  void tiles(const float* v, int64_t row, int64_t col, int valid, int skip, int64_t begin,
             int64_t end, Sink& sink) const {
    for (int64_t block = begin; block < end; block += kBlock) {
      vec m[kPoints][kBlock][T];
      multiply<T>(v, packed.data() + block * kPoints * kTaps, &m[0][0][0]);
      for (int o = 0; o < kBlock; ++o) {
        vec y[kRows][T];
        const float b = bias[block + o];
        for (int t = 0; t < T; ++t) {
          const vec s1 = m[1][o][t] + m[2][o][t], d1 = m[1][o][t] - m[2][o][t];
          const vec s2 = m[3][o][t] + m[4][o][t], d2 = m[3][o][t] - m[4][o][t];
          // The bias comes last: a large one must not cost every partial sum its low bits.
          y[0][t] = m[0][o][t] + s1 + s2 + b;
          y[1][t] = d1 + 2.f * d2 + b;
          y[2][t] = s1 + 4.f * s2 + b;
          y[3][t] = d1 + 8.f * d2 + m[5][o][t] + b;
        }
        sink.template take<T>(block + o, row, col, y, valid, skip, true);
      }
    }
  }

  // Not inlined: whether the sums stay in registers must not depend on the caller.
  template <int T>
  __attribute__((noinline)) void multiply(const float* v, const float* u, vec* m) const {
    static_assert(kBlock == 4, "four channels are written out below");
    const int64_t step = stride();
    for (int p = 0; p < kPoints; ++p, m += kBlock * T) {
      vec acc[kBlock][T] = {};
      for (int i = 0; i < kIn; ++i, v += step)
#pragma GCC unroll 3
        for (int x = 0; x < 3; ++x, u += kBlock) {
          vec value[T];
#pragma GCC unroll 4
          for (int t = 0; t < T; ++t) value[t] = hold(load(v + x + t * kLanes));
#pragma GCC unroll 4
          for (int o = 0; o < kBlock; ++o) {
            const vec w = hold(splat(u[o]));
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t) acc[o][t] += value[t] * w;
          }
        }
#pragma GCC unroll 4
      for (int o = 0; o < kBlock; ++o)
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) m[o * T + t] = acc[o][t];
    }
  }

  // The same strip without the transform.
  template <typename Sink>
  void plain(const float* in, int64_t row, int valid, int64_t begin, int64_t end,
             Sink& sink) const {
    std::vector<float> lines(kRows * cols);
    for (int64_t c = begin; c < end; ++c) {
      std::fill(lines.begin(), lines.end(), 0.f);
      for (int r = 0; r < valid; ++r) {
        float* line = lines.data() + r * cols;
        for (int64_t t = 0; t < 9 * kIn; ++t) {
          const float w = weight[c * 9 * kIn + t];
          const float* p = in + (t / 9 * height + row + r + t % 9 / 3) * width + t % 3;
          for (int64_t x = 0; x < cols; ++x) line[x] += w * p[x];
        }
        for (int64_t x = 0; x < cols; ++x) line[x] += bias[c];
      }
      for (int64_t x = 0; x < cols; x += kLanes) {
        const int64_t at = std::min(x, cols - kLanes);
        vec y[kRows][1];
        for (int r = 0; r < kRows; ++r) y[r][0] = load(lines.data() + r * cols + at);
        sink.template take<1>(c, row, at, y, valid, static_cast<int>(x - at), false);
      }
    }
  }
};

// Adds `valid` rows of T vectors, the first `skip` lanes of which count as given before.
template <int T>
inline void add(Moments& m, const vec (&y)[kRows][T], int valid, int skip, bool calm) {
  const ivec fresh = lanes_from(skip);
  if (!calm) {  // any size, so in double
    for (int r = 0; r < valid; ++r)
      for (int t = 0; t < T; ++t) {
        dvec d = widen(y[r][t]) - static_cast<double>(m.pivot);
        for (int i = 0; t == 0 && i < skip; ++i) d[i] = 0;
        m.sum += d;
        m.square += d * d;
      }
    return;
  }
  vec s1 = {}, s2 = {};
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
    if (r < valid)
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        vec d = y[r][t] - m.pivot;
        if (t == 0 && skip) d = fresh ? d : vec{};
        s1 += d;
        s2 += d * d;
      }
  m.part_sum += s1;
  m.part_square += s2;
}

// Fresh memory is cheaper to touch in large pages.
inline void prefer_large_pages(void* p, size_t bytes) {
#ifdef __linux__
  const uintptr_t page = 4096, from = (reinterpret_cast<uintptr_t>(p) + page - 1) / page * page;
  const uintptr_t to = (reinterpret_cast<uintptr_t>(p) + bytes) / page * page;
  if (to > from + (1u << 21)) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

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

Conv convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  for (const at::Tensor* t : {&x, &weight, &bias})
    TORCH_CHECK(t->scalar_type() == at::kFloat && t->is_contiguous() && t->device().is_cpu(),
                "expected contiguous fp32 CPU tensors");
  TORCH_CHECK(x.dim() == 4 && x.size(1) == kIn && weight.dim() == 4 && weight.size(1) == kIn &&
                  weight.size(2) == 3 && weight.size(3) == 3 && weight.size(0) % kBlock == 0 &&
                  x.size(2) >= 3 && x.size(3) >= kLeastCols + 2 && bias.numel() == weight.size(0),
              "expected 8 input channels and a 3x3 kernel");
  Conv conv;
  conv.height = x.size(2);
  conv.width = x.size(3);
  conv.rows = conv.height - 2;
  conv.cols = conv.width - 2;
  conv.channels = weight.size(0);
  conv.input = x.const_data_ptr<float>();
  conv.weight = weight.const_data_ptr<float>();
  conv.bias = bias.const_data_ptr<float>();
  return conv;
}

// Into how many parts an image's `units` are cut, so that no thread waits long for another.
int64_t parts_of(int64_t images, int64_t units) {
  int64_t parts = 1;
  while (images * parts < 8 * at::get_num_threads() && units % (2 * parts) == 0) parts *= 2;
  return parts;
}

// One image's channels as they come out of the convolution: sigmoid((y + bias) * scale) is stored,
// and its moments are gathered.
struct Activate {
  float* out;
  int64_t first, cols, plane;
  const float* bias;
  const float* scale;
  std::vector<Moments> moments;

  template <int T>
  void take(int64_t c, int64_t row, int64_t col, const vec (&y)[kRows][T], int valid, int skip,
            bool calm) {
    vec z[kRows][T];
    for (int r = 0; r < kRows; ++r)
      for (int t = 0; t < T; ++t) z[r][t] = sigmoid((y[r][t] + bias[c]) * scale[c]);
    Moments& m = moments[c - first];
    if (row == 0 && col == 0) m.set_pivot(z[0][0]);
    add<T>(m, z, valid, skip, calm);
    float* to = out + (c - first) * plane + row * cols + col;
    for (int r = 0; r < valid; ++r)
      for (int t = 0; t < T; ++t) store(to + r * cols + t * kLanes, z[r][t]);
  }

  void end_rows(int64_t, int) {
    for (Moments& m : moments) m.flush();
  }
};

}  // namespace

at::Tensor conv_sigmoid_groupnorm(at::Tensor x, at::Tensor weight, at::Tensor conv_bias,
                                  at::Tensor bias, at::Tensor scale, at::Tensor gamma,
                                  at::Tensor beta, int64_t groups, double eps) {
  at::NoGradGuard no_grad;
  x = x.contiguous();
  weight = weight.contiguous();
  conv_bias = conv_bias.contiguous();
  bias = bias.contiguous();
  scale = scale.contiguous();
  gamma = gamma.contiguous();
  beta = beta.contiguous();
  Conv conv = convolution(x, weight, conv_bias);
  const int64_t images = x.size(0), channels = conv.channels, plane = conv.plane();
  const int64_t per_group = channels / groups;
  TORCH_CHECK(per_group % kBlock == 0 && per_group * groups == channels, "expected whole blocks");
  for (const at::Tensor* t : {&bias, &scale, &gamma, &beta})
    TORCH_CHECK(t->numel() == channels, "expected one value per channel");
  conv.pack();
  const float* gammas = gamma.const_data_ptr<float>();
  const float* betas = beta.const_data_ptr<float>();
  at::Tensor out = at::empty({images, channels, conv.rows, conv.cols}, x.options());
  float* result = out.mutable_data_ptr<float>();
  prefer_large_pages(result, out.nbytes());

  const int64_t parts = parts_of(images, groups), share = channels / parts;
#pragma omp parallel num_threads(at::get_num_threads())
  {
    std::vector<float> transformed(kPoints * kIn * conv.stride());
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < images * parts; ++task) {
      const int64_t image = task / parts, first = task % parts * share;
      float* to = result + (image * channels + first) * plane;
      Activate sink{to, first, conv.cols, plane, bias.const_data_ptr<float>(),
                    scale.const_data_ptr<float>(), std::vector<Moments>(share)};
      conv.run(image, first, first + share, transformed.data(), sink);
      for (int64_t c = 0; c < share; c += per_group) {
        Summary group;
        for (int64_t i = c; i < c + per_group; ++i) group.merge(Summary(sink.moments[i], plane));
        const double rstd = 1 / std::sqrt(group.m2 / group.n + eps);
        for (int64_t i = c; i < c + per_group; ++i) {
          const Affine normalise(group.mean, rstd * gammas[first + i], betas[first + i]);
          float* p = to + i * plane;
          int64_t k = 0;
          for (; k + kLanes <= plane; k += kLanes) store(p + k, normalise(load(p + k)));
          for (; k < plane; ++k) p[k] = normalise(p[k]);
        }
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
        if not self._fits(x):
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
        """Whether the fused path serves: fp32 on the CPU, no autograd, and the shapes it was written for."""
        tensors = (x, *self.parameters())
        plain = all(t.dtype == torch.float32 and t.layout == torch.strided and t.device.type == "cpu" for t in tensors)
        weight = self.conv.weight
        return (
            plain
            and not torch.is_grad_enabled()
            and x.dim() == 4
            and x.shape[0] > 0
            and x.shape[1] == 8
            and x.shape[2] >= 3
            and x.shape[3] >= 26
            and tuple(weight.shape[1:]) == (8, 3, 3)
            and (weight.shape[0] // self.group_norm.num_groups) % 4 == 0
            and tuple(self.bias.shape) == tuple(self.scale.shape) == (weight.shape[0], 1, 1)
        )

    def _plain(self, x):
        """The same function out of torch's operators."""
        return self.group_norm(torch.sigmoid((self.conv(x) + self.bias) * self.scale))
