"""Conv2d, GroupNorm, *scale, MaxPool2d and clamp on CUDA in one kernel: cuda_tensorcore with Hopper's wgmma.

Two warpgroups convolve 8x8 pixels by 64 channels at a time, weights in registers and pixels in shared memory, keep
each window's maximum and the channels' moments, and never store the convolution. One more reads the image's next strip
meanwhile. Whoever completes an image normalises its maxima in place.

Sound for the reasons that cuda_tensorcore gives: fp32 numbers as sums of two fp16 numbers each, three of four products,
weights whose sign makes every extremum a maximum, moments about a value of the channel, joined in a fixed order.

Eight pixels by eight channels in fp16 are 128 bytes in a row, which is wgmma's core matrix without swizzle. So another
tap is another start address, and the next row of pixels is the stride between core matrices.

Only for compute capability 9.0. Other devices, other shapes than 3x3 kernels on up to 8 channels with windows of 4, and
calls that autograd records go to torch's operators.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor gamma,
                                     at::Tensor beta, at::Tensor scale, int64_t groups, double eps, double lo,
                                     double hi);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace {

constexpr int kMaxIn = 8, kTaps = 9;               // input channels, taps of a 3x3 kernel
constexpr int kOut = 64;                           // output channels of a warpgroup, 16 for each warp
constexpr int kRows = 16, kCols = 128;             // output pixels of a unit of work
constexpr int kInRows = kRows + 2, kInCols = kCols + 2;
constexpr int kPixel = 16;                         // bytes: eight channels in fp16
constexpr int kPitch = kInCols * kPixel, kPart = kInRows * kPitch, kStage = 2 * kPart;
constexpr int kConsumers = 2, kGroup = 128;        // warpgroups, threads of one
constexpr int kThreads = (kConsumers + 1) * kGroup;
constexpr int kBatch = 3;                          // pixels that a producer thread loads at once
constexpr int kUsual = 6;                          // inputs are scaled by 2^6 where that suits them

struct Shape {
  int in_channels, height, width, channels, per_group, rows, cols, pooled_rows, pooled_cols;
  int blocks, strips, spans;  // units of work of an image: blocks of channels, strips of rows, spans of columns

  __host__ __device__ int units() const { return blocks * strips * spans; }
};

struct Work {
  const float *x, *weight, *conv_bias, *gamma, *beta, *scale;
  float* out;
  double* partial;  // [unit][consumer][kOut][3]: sum, sum of squared totals over their counts, squared deviations
  int* arrived;     // [image]
  double eps;
  float lo, hi;
  int images;
};

__device__ __forceinline__ void wait_at(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void pass_by(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// 64 channels times 64 pixels, over two taps: d (+)= a times the pixels that the descriptor names.
__device__ __forceinline__ void two_taps(float (&d)[32], const uint32_t (&a)[4], uint64_t pixels, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%SUMS%}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}\n"
      : %OUTPUTS%
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(pixels), "r"(add));
}
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void await_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
// What the threads wrote to shared memory is seen by wgmma.
__device__ __forceinline__ void publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Eight rows of eight pixels, and for the second tap those `to_second` bytes further. Addresses count 16 bytes.
__device__ __forceinline__ uint64_t pixels_at(uint32_t sixteenths, int to_second) {
  return static_cast<uint64_t>(kPitch / 16) << 32 | (sixteenths + (static_cast<uint32_t>(to_second / 16) << 16));
}

__device__ __forceinline__ float power_of_two(int e) { return __int_as_float((e + 127) << 23); }
__device__ __forceinline__ int exponent(float x) { return static_cast<int>(__float_as_uint(x) >> 23 & 255) - 127; }
// The power of two by which numbers up to `largest` come below 2^14.
__device__ __forceinline__ int fitting(float largest) {
  const int e = 13 - exponent(largest);
  return largest == 0 || exponent(largest) == 128 ? 0 : e > 120 ? 120 : e;
}

// a and b as two pairs of fp16: rounded, and what rounding left.
__device__ __forceinline__ void split(float a, float b, uint32_t& high, uint32_t& low) {
  const __half2 h = __floats2half2_rn(a, b);
  const __half2 l = __floats2half2_rn(a - __low2float(h), b - __high2float(h));
  high = *reinterpret_cast<const uint32_t*>(&h);
  low = *reinterpret_cast<const uint32_t*>(&l);
}

// The weights of a thread: rows g and g + 8 of its warp's 16 channels, input channels 2t and 2t + 1.
struct Weights {
  uint32_t a[2][4][4];  // [part][which]: of tap rows 0, 1, 2 the taps at 0 and 1; then those at 2 of tap rows 0 and 1
  uint32_t last[2][4];  // the last tap: low part and high part, high part and nothing
  float unscale[2];

  __device__ void load(const Work& w, const Shape& s, int first) {
    const int in = threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int c = first + h * 8;
      const bool live = c < s.channels;
      const float* row = w.weight + static_cast<int64_t>(live ? c : 0) * s.in_channels * kTaps;
      float v[2][kTaps], largest = 0;
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int t = 0; t < kTaps; ++t) {
          v[i][t] = live && in + i < s.in_channels ? row[(in + i) * kTaps + t] : 0.f;
          largest = fmaxf(largest, fabsf(v[i][t]));
        }
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
      const int e = fitting(largest);
      const bool falling = live && static_cast<double>(w.gamma[c]) * w.scale[c] < 0;
      const float factor = falling ? -power_of_two(e) : power_of_two(e);
      unscale[h] = power_of_two(-e);
#pragma unroll
      for (int t = 0; t < kTaps; ++t) {
        uint32_t part[2];
        split(v[0][t] * factor, v[1][t] * factor, part[0], part[1]);
#pragma unroll
        for (int p = 0; p < 2; ++p) {
          if (t % 3 < 2) a[p][t / 3][t % 3 * 2 + h] = part[p];
          if (t == 2 || t == 5) a[p][3][t / 3 * 2 + h] = part[p];
        }
        if (t == 8) {
          last[0][h] = part[1];
          last[0][2 + h] = last[1][h] = part[0];
          last[1][2 + h] = 0;
        }
      }
    }
  }
};

// The moments that a thread gathers of one channel, about a value near its mean.
struct Moments {
  float shift, sum, squares;
};

// Eight values of one channel: four rows, two pixels. `rows` and `cols` of them count.
template <bool kFull>
__device__ __forceinline__ float fold(const float (&d)[32], int first, int h, int rows, int cols,
                                      int seen, Moments& m) {
  if (seen == 0) {
    float total = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        if (kFull || (j < rows && i < cols)) total += d[(first + j) * 4 + 2 * h + i];
    m.shift = kFull ? total * 0.125f : rows * cols > 0 ? total / (rows * cols) : 0.f;
  }
  float largest = d[first * 4 + 2 * h];
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float v = d[(first + j) * 4 + 2 * h + i];
      largest = fmaxf(largest, v);
      if (kFull || (j < rows && i < cols)) {
        const float e = v - m.shift;
        m.sum += e;
        m.squares = fmaf(e, e, m.squares);
      }
    }
  return largest;
}

// Two window rows: eight output rows of eight pixels, 64 channels.
__device__ __forceinline__ void convolve(float (&d)[32], const Weights& w, uint32_t address) {
  const uint32_t start = (address & 0x3ffff) / 16;
  __syncwarp();
  begin_products();
  // The small products first: their sum loses least while it is small.
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const uint32_t at = start + (k == 1 ? kPart / 16 : 0);
    const uint32_t(&a)[4][4] = w.a[k == 0];
#pragma unroll
    for (int t = 0; t < 3; ++t) two_taps(d, a[t], pixels_at(at + t * (kPitch / 16), kPixel), k + t > 0);
    two_taps(d, a[3], pixels_at(at + 2, kPitch), 1);
    if (k > 0) two_taps(d, w.last[k - 1], pixels_at(start + 2 * (kPitch / 16) + 2, kPart), 1);
  }
  await_products();
}

struct Place {
  int image, block, row, col;
  __device__ Place(int unit, const Shape& s) {
    image = unit / s.units();
    const int rest = unit % s.units();
    block = rest / (s.strips * s.spans);
    row = rest / s.spans % s.strips * kRows;
    col = rest % s.spans * kCols;
  }
};

// Input pixels of a unit as fp16 pairs. Returns the largest magnitude that this thread saw.
__device__ float fill(const Work& w, const Shape& s, const Place& at, unsigned char* stage, float factor) {
  const int plane = s.height * s.width, tid = threadIdx.x % kGroup;
  const float* x = w.x + static_cast<int64_t>(at.image) * s.in_channels * plane;
  float largest = 0;
  for (int first = tid; first < kInRows * kInCols; first += kBatch * kGroup) {
    float v[kBatch][kMaxIn];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const int p = first + k * kGroup, y = at.row + p / kInCols, c = at.col + p % kInCols;
      const bool inside = p < kInRows * kInCols && y < s.height && c < s.width;
#pragma unroll
      for (int i = 0; i < kMaxIn; ++i) v[k][i] = inside && i < s.in_channels ? x[i * plane + y * s.width + c] : 0.f;
    }
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const int p = first + k * kGroup;
      uint32_t high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        largest = fmaxf(largest, fmaxf(fabsf(v[k][2 * i]), fabsf(v[k][2 * i + 1])));
        split(v[k][2 * i] * factor, v[k][2 * i + 1] * factor, high[i], low[i]);
      }
      if (p < kInRows * kInCols) {
        *reinterpret_cast<uint4*>(stage + p * kPixel) = make_uint4(high[0], high[1], high[2], high[3]);
        *reinterpret_cast<uint4*>(stage + kPart + p * kPixel) = make_uint4(low[0], low[1], low[2], low[3]);
      }
    }
  }
  return largest;
}

// Keeps both stages filled. Where the usual factor is too large or too small for a unit, it is filled once more.
__device__ void produce(const Work& w, const Shape& s, int begin, int end, unsigned char* stages, float* unscale,
                        unsigned* shared_largest) {
  const int tid = threadIdx.x % kGroup;
  for (int unit = begin; unit < end; ++unit) {
    const int k = (unit - begin) % 2;
    if (unit - begin >= 2) wait_at(3 + k, kThreads);
    const Place at(unit, s);
    int e = kUsual;
    float largest = fill(w, s, at, stages + k * kStage, power_of_two(e));
    const unsigned all = __reduce_max_sync(0xffffffffu, __float_as_uint(largest));
    if (tid % 32 == 0) shared_largest[tid / 32] = all;
    wait_at(5, kGroup);
    largest = 0;
#pragma unroll
    for (int i = 0; i < kGroup / 32; ++i) largest = fmaxf(largest, __uint_as_float(shared_largest[i]));
    const int scaled = exponent(largest) + e;
    if (largest != 0 && exponent(largest) != 128 && (scaled < 1 || scaled > 14)) {
      e = fitting(largest);
      fill(w, s, at, stages + k * kStage, power_of_two(e));
    }
    if (tid == 0) unscale[k] = power_of_two(-e);
    wait_at(5, kGroup);  // shared_largest is free again
    publish();
    pass_by(1 + k, kThreads);
  }
}

__device__ __forceinline__ double over_quad(double v) {
  v += __shfl_xor_sync(0xffffffffu, v, 1);
  return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

// y = clamp((u - mean) * gain + offset). The part of the mean that fp32 cannot hold is in offset.
struct Affine {
  float mean, gain, offset;
};

__device__ __forceinline__ float finished(float u, const Affine& f, float lo, float hi) {
  float v = (u - f.mean) * f.gain + f.offset;
  v = v < lo ? lo : v;  // in this form a NaN stays NaN
  return v > hi ? hi : v;
}

// By one warpgroup, when an image is complete: statistics of its groups, then its outputs in place.
__device__ void finish(const Work& w, const Shape& s, int image, double* moments, Affine* affine, int barrier) {
  const int tid = threadIdx.x % kGroup;
  const double plane = static_cast<double>(s.rows) * s.cols;
  for (int c = tid; c < s.channels; c += kGroup) {
    const int parts = s.strips * s.spans * kConsumers;
    const int64_t first = (static_cast<int64_t>(image) * s.units() + c / kOut * (s.strips * s.spans)) * kConsumers;
    const double* p = w.partial + (first * kOut + c % kOut) * 3;
    double sum = 0, between = 0, within = 0;
    for (int i = 0; i < parts; ++i, p += kOut * 3) {
      sum += __ldcg(p);
      between += __ldcg(p + 1);
      within += __ldcg(p + 2);
    }
    double m2 = within + (between - sum * sum / plane);
    m2 = m2 < 0 ? 0 : m2;  // a NaN stays
    const bool falling = static_cast<double>(w.gamma[c]) * w.scale[c] < 0;
    moments[2 * c] = (falling ? -sum : sum) / plane + w.conv_bias[c];
    moments[2 * c + 1] = m2;
  }
  wait_at(barrier, kGroup);
  for (int c = tid; c < s.channels; c += kGroup) {
    const double* m = moments + c / s.per_group * s.per_group * 2;
    double mean = 0, m2 = 0;
    for (int i = 0; i < s.per_group; ++i) mean += m[2 * i];
    mean /= s.per_group;
    for (int i = 0; i < s.per_group; ++i) m2 += m[2 * i + 1] + plane * (m[2 * i] - mean) * (m[2 * i] - mean);
    const double rstd = 1 / sqrt(m2 / (plane * s.per_group) + w.eps);
    const double slope = static_cast<double>(w.gamma[c]) * w.scale[c];
    const double sign = slope < 0 ? -1 : 1, from = sign * (mean - w.conv_bias[c]), gain = sign * slope * rstd;
    const float rounded = static_cast<float>(from);
    const double shift = static_cast<double>(w.beta[c]) * w.scale[c] - (from - rounded) * gain;
    affine[c] = {rounded, static_cast<float>(gain), static_cast<float>(shift)};
  }
  wait_at(barrier, kGroup);
  const int area = s.pooled_rows * s.pooled_cols, total = area * s.channels;
  float* out = w.out + static_cast<int64_t>(image) * total;
  if (total % 4 == 0) {
    constexpr int kAhead = 4;
    float4* vectors = reinterpret_cast<float4*>(out);
    for (int first = tid; first < total / 4; first += kAhead * kGroup) {
      float4 v[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        if (first + k * kGroup < total / 4) v[k] = __ldcg(vectors + first + k * kGroup);
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const int i = (first + k * kGroup) * 4;
        if (i >= total) break;
        v[k].x = finished(v[k].x, affine[i / area], w.lo, w.hi);
        v[k].y = finished(v[k].y, affine[(i + 1) / area], w.lo, w.hi);
        v[k].z = finished(v[k].z, affine[(i + 2) / area], w.lo, w.hi);
        v[k].w = finished(v[k].w, affine[(i + 3) / area], w.lo, w.hi);
        vectors[i / 4] = v[k];
      }
    }
  } else {
    for (int i = tid; i < total; i += kGroup) out[i] = finished(__ldcg(out + i), affine[i / area], w.lo, w.hi);
  }
}

__device__ void consume(const Work& w, const Shape& s, int begin, int end, unsigned char* stages, const float* unscale,
                        double* moments, Affine* affine, int* complete) {
  const int group = threadIdx.x / kGroup, warp = threadIdx.x % kGroup / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, t = lane % 4, barrier = 6 + group;
  const int area = s.pooled_rows * s.pooled_cols;
  Weights weights;
  int loaded = -1;
  for (int unit = begin; unit < end; ++unit) {
    const Place at(unit, s);
    const int k = (unit - begin) % 2;
    if (at.block != loaded) {
      weights.load(w, s, at.block * kOut + warp * 16 + g);
      loaded = at.block;
    }
    wait_at(1 + k, kThreads);
    const float back = unscale[k];
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(stages + k * kStage));
    const int width = (min(kCols, s.cols - at.col) + 7) / 8 * 8, height = min(kRows, s.rows - at.row);
    const int channel = at.block * kOut + warp * 16 + g + t % 2 * 8;  // whose maxima this lane stores
    float* out = w.out + (static_cast<int64_t>(at.image) * s.channels + channel) * area;
    Moments m[2] = {};
    int count = 0;
    // Pairs of window rows one after the other, and in each every second tile.
    for (int y = 0, x = group * 8; y < height; x += kConsumers * 8) {
      while (x >= width) {
        x -= width;
        y += 8;
      }
      if (y >= height) break;
      float d[32];
      convolve(d, weights, base + y * kPitch + x * kPixel);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = y + half * 4;
        float most[2];
        if (height - row >= 4 && s.cols - at.col - x >= 8) {
#pragma unroll
          for (int h = 0; h < 2; ++h) most[h] = fold<true>(d, half * 4, h, 4, 2, count, m[h]);
          count += 8;
        } else {
          const int rows = max(min(4, height - row), 0), cols = max(min(2, s.cols - at.col - x - 2 * t), 0);
#pragma unroll
          for (int h = 0; h < 2; ++h) most[h] = fold<false>(d, half * 4, h, rows, cols, count, m[h]);
          count += rows * cols;
        }
        // A window's two lanes each hold half of it for two channels: each takes one channel.
        const float other = __shfl_xor_sync(0xffffffffu, t % 2 ? most[0] : most[1], 1);
        const float largest = fmaxf(t % 2 ? most[1] : most[0], other);
        const int py = (at.row + row) / 4, px = (at.col + x) / 4 + t / 2;
        if (row < height && py < s.pooled_rows && px < s.pooled_cols && channel < s.channels)
          out[py * s.pooled_cols + px] = largest * back * (t % 2 ? weights.unscale[1] : weights.unscale[0]);
      }
    }
    if (unit + 2 < end) pass_by(3 + k, kThreads);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const double unit_size = static_cast<double>(back) * weights.unscale[h], n = count;
      const double total = n * m[h].shift + m[h].sum;
      const double sum = over_quad(total * unit_size);
      const double between = over_quad(n > 0 ? total * total / n * unit_size * unit_size : 0.);
      const double inner = n > 0 ? m[h].squares - static_cast<double>(m[h].sum) * m[h].sum / n : 0.;
      const double within = over_quad(inner * unit_size * unit_size);
      if (t == 0) {
        double* p = w.partial + ((static_cast<int64_t>(unit) * kConsumers + group) * kOut + warp * 16 + g + h * 8) * 3;
        p[0] = sum;
        p[1] = between;
        p[2] = within;
      }
    }
    __threadfence();
    wait_at(barrier, kGroup);
    if (threadIdx.x % kGroup == 0) complete[group] = atomicAdd(w.arrived + at.image, 1) == s.units() * kConsumers - 1;
    wait_at(barrier, kGroup);
    if (complete[group]) {
      __threadfence();
      finish(w, s, at.image, moments + group * 2 * s.channels, affine + group * s.channels, barrier);
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1) everything(const Work w, const Shape s) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ float unscale[2];
  __shared__ unsigned largest[kGroup / 32];
  __shared__ int complete[kConsumers];
  double* moments = reinterpret_cast<double*>(memory + 2 * kStage);
  Affine* affine = reinterpret_cast<Affine*>(moments + kConsumers * 2 * s.channels);
  const int64_t units = static_cast<int64_t>(w.images) * s.units();
  const int begin = static_cast<int>(units * blockIdx.x / gridDim.x);
  const int end = static_cast<int>(units * (blockIdx.x + 1) / gridDim.x);
  if (threadIdx.x / kGroup == kConsumers)
    produce(w, s, begin, end, memory, unscale, largest);
  else
    consume(w, s, begin, end, memory, unscale, moments, affine, complete);
}

void check_parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.device() == x.device() && p.numel() == n && p.is_contiguous(),
              "expected ", n, " contiguous fp32 parameters on ", x.device());
}

}  // namespace

at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor gamma,
                                     at::Tensor beta, at::Tensor scale, int64_t groups, double eps, double lo,
                                     double hi) {
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == at::kFloat && x.is_cuda(), "expected a 4-d fp32 CUDA tensor");
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  const int64_t images = x.size(0), in = x.size(1), channels = weight.size(0);
  const int64_t rows = x.size(2) - 2, cols = x.size(3) - 2;
  TORCH_CHECK(weight.dim() == 4 && weight.size(1) == in && weight.size(2) == 3 && weight.size(3) == 3 && in <= kMaxIn,
              "expected a 3x3 kernel on at most 8 channels");
  TORCH_CHECK(channels <= 256 && channels % groups == 0, "expected at most 256 channels in equal groups");
  TORCH_CHECK(rows >= 4 && cols >= 4, "the pooling window is larger than its input");
  TORCH_CHECK(x.numel() / images < (int64_t{1} << 31) && channels * (rows / 4) * (cols / 4) < (int64_t{1} << 31),
              "an image is too large for 32-bit indices");
  check_parameter(weight, x, channels * in * kTaps);
  for (const at::Tensor& p : {conv_bias, gamma, beta, scale}) check_parameter(p, x, channels);

  Shape s;
  s.in_channels = static_cast<int>(in);
  s.height = static_cast<int>(x.size(2));
  s.width = static_cast<int>(x.size(3));
  s.channels = static_cast<int>(channels);
  s.per_group = static_cast<int>(channels / groups);
  s.rows = static_cast<int>(rows);
  s.cols = static_cast<int>(cols);
  s.pooled_rows = s.rows / 4;
  s.pooled_cols = s.cols / 4;
  s.blocks = (s.channels + kOut - 1) / kOut;
  s.strips = (s.rows + kRows - 1) / kRows;
  s.spans = (s.cols + kCols - 1) / kCols;
  const int64_t units = images * s.units();
  TORCH_CHECK(units < (int64_t{1} << 31), "too many units of work");
  at::Tensor out = at::empty({images, channels, s.pooled_rows, s.pooled_cols}, x.options());
  at::Tensor partial = at::empty({units, kConsumers, kOut, 3}, x.options().dtype(at::kDouble));
  at::Tensor arrived = at::zeros({images}, x.options().dtype(at::kInt));
  const Work w = {x.const_data_ptr<float>(),     weight.const_data_ptr<float>(),
                  conv_bias.const_data_ptr<float>(), gamma.const_data_ptr<float>(),
                  beta.const_data_ptr<float>(),  scale.const_data_ptr<float>(),
                  out.mutable_data_ptr<float>(), partial.mutable_data_ptr<double>(),
                  arrived.mutable_data_ptr<int>(), eps,
                  static_cast<float>(lo),        static_cast<float>(hi),
                  static_cast<int>(images)};
  const int bytes = 2 * kStage + kConsumers * s.channels * static_cast<int>(2 * sizeof(double) + sizeof(Affine));
  C10_CUDA_CHECK(cudaFuncSetAttribute(everything, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  int processors = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, x.get_device()));
  const unsigned grid = static_cast<unsigned>(units < processors ? units : processors);
  everything<<<grid, kThreads, bytes, stream>>>(w, s);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
""".replace("%SUMS%", ", ".join(f"%{i}" for i in range(32))).replace(
    "%OUTPUTS%", ", ".join(f'"+f"(d[{i}])' for i in range(32))
)

_extension = load_inline(
    name="kb_conv_groupnorm_pool_clamp_wgmma",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["conv_groupnorm_pool_clamp"],
    extra_cuda_cflags=["-O3", "-gencode=arch=compute_90a,code=sm_90a"],
)


class ModelNew(nn.Module):
    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        num_groups,
        scale_shape,
        maxpool_kernel_size,
        clamp_min,
        clamp_max,
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.group_norm = nn.GroupNorm(num_groups, out_channels)
        self.scale = nn.Parameter(torch.ones(scale_shape))
        self.maxpool_kernel_size = maxpool_kernel_size
        self.clamp_min = clamp_min
        self.clamp_max = clamp_max

    def forward(self, x):
        if torch.is_grad_enabled() or not self._suits(x):
            return self._plain(x)
        norm = self.group_norm
        parameters = (self.conv.weight, self.conv.bias, norm.weight, norm.bias, self.scale)
        return _extension.conv_groupnorm_pool_clamp(
            x, *(p.contiguous() for p in parameters), norm.num_groups, norm.eps, self.clamp_min, self.clamp_max
        )

    def _suits(self, x):
        channels, in_channels, *kernel = self.conv.weight.shape
        return (
            x.is_cuda
            and torch.cuda.get_device_capability(x.device) == (9, 0)
            and x.dtype == torch.float32
            and x.dim() == 4
            and x.numel() > 0
            and kernel == [3, 3]
            and in_channels <= 8
            and channels <= 256
            and self.scale.numel() == channels
            and self.maxpool_kernel_size == 4
            and min(x.shape[2:]) >= 6
        )

    def _plain(self, x):
        """The same function out of torch's operators."""
        pooled = nn.functional.max_pool2d(self.group_norm(self.conv(x)) * self.scale, self.maxpool_kernel_size)
        return torch.clamp(pooled, self.clamp_min, self.clamp_max)
