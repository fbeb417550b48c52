"""Conv2d, GroupNorm, *scale, MaxPool2d and clamp on CUDA in one kernel, on Hopper's wgmma.

The convolution is never stored. Four warpgroups of a block share the work on strips of 16 output rows:
* one reads the next strip, takes a mean off each input channel and writes fp32 numbers as sums of two fp16 numbers;
* two convolve in turns, 16x8 pixels by 64 channels at a time (three of the four products of the parts), and keep each
  window's maximum, in shared memory, and each channel's sum and sum of squares. While one folds, the other multiplies;
* the last adds the strip's moments to its image's, waits for the blocks that have the image's other strips (the launch
  is cooperative), and writes the normalised maxima.

Scaling by powers of two is exact, and a channel whose factor gamma * scale is negative gets negated weights, so that
every extremum is a maximum. With the inputs' means off, the moments are about nearly the channel's mean, so their
difference cancels little; what was taken off comes back in double precision. All sums have a fixed order.

Eight pixels by eight channels in fp16 are 128 bytes in a row, which is wgmma's core matrix without swizzle. So another
tap is another start address, and the next row of pixels is the stride between core matrices.

Only for compute capability 9.0. Other devices, other shapes than 3x3 kernels from up to 8 to up to 64 channels with
windows of 4, images of more strips than 64 or than the device has multiprocessors, and calls that autograd records go
to torch's operators.
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

constexpr int kMaxIn = 8, kTaps = 9;                 // input channels, taps of a 3x3 kernel
constexpr int kOut = 64;                             // output channels, 16 for each warp
constexpr int kRows = 16, kCols = 128;               // output pixels of a strip
constexpr int kInRows = kRows + 2, kQuads = 33;      // input rows, fours of input columns
constexpr int kPixel = 16;                           // bytes: eight channels in fp16
constexpr int kPitch = kQuads * 4 * kPixel, kPart = kInRows * kPitch, kStage = 2 * kPart;
constexpr int kGroup = 128, kThreads = 4 * kGroup;   // threads of a warpgroup, of a block
constexpr int kAhead = 2;                            // fours of pixels that a thread loads at once
constexpr int kItems = kInRows * kQuads;
constexpr int kUsual = 6;                            // inputs are scaled by 2^6 where that suits them
constexpr int kWindows = kCols / 4, kWindowRows = kRows / 4;
constexpr int kChannel = kWindowRows * kWindows + 2; // maxima of a channel; the 2 spread them over the banks

enum Barrier { kFilling = 1, kFinishing = 2, kTurn = 3 };  // the last is a pair

struct Shape {
  int in_channels, height, width, channels, per_group, rows, cols, pooled_rows, pooled_cols;
  int strips, spans;  // of an image: strips of rows, spans of columns
  int vectors;        // input rows are whole float4s

  __host__ __device__ int units() const { return strips * spans; }
};

struct Work {
  const float *x, *weight, *conv_bias, *gamma, *beta, *scale;
  float* out;
  double* partial;  // [image][unit][2][kOut]: sum, sum of squares
  int* arrived;     // [image]
  double eps;
  float lo, hi;
  int images;
};

// y = clamp(most * gain + offset).
struct Affine {
  float gain, offset;
};

struct Shared {
  unsigned char stages[2][kStage];
  float most[2][kOut * kChannel];
  // A stage is full, and there is room for its unit's maxima and moments; the stage is free again; the maxima and
  // moments are ready. Unit k uses the (k % 2)-th of each, in phase k / 2. Parity tells phases apart, and nobody
  // arrives twice in one: at `full` those who fill and those who finish arrive, after they have awaited `free` and
  // `ready` of unit k - 2, at which those who convolve arrive once they have awaited its `full`.
  uint64_t full[2], free[2], ready[2];
  double moments[2][2][kOut][2];  // of both warpgroups
  double weights[kMaxIn][kOut];   // over the taps
  double image[kOut][2];          // mean, squared deviations
  Affine affine[kOut];
  float unscale_weights[kOut];
  // Of the last units' inputs. A unit's means are noted before its stage is free, when those of four units before may
  // still be in use; its factor is noted after.
  float mean[8][kMaxIn], unscale[4];
  float largest[2][kGroup / 32];
};

// A block has the same part of every image that it works on.
struct Place {
  int first, step, count;  // its images
  int unit, row, col;

  __device__ explicit Place(const Work& w, const Shape& s) {
    const int units = s.units();
    unit = blockIdx.x % units;
    row = unit / s.spans * kRows;
    col = unit % s.spans * kCols;
    first = blockIdx.x / units;
    step = gridDim.x / units;
    count = (w.images - first + step - 1) / step;
  }
};

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void wait_at(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void pass_by(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Hand-overs between groups, of shared memory or of leave to write it: all threads of the side that gives arrive, each
// once a phase, and the other side awaits the phase. Phases count from 0, and are known by their parity.
__device__ __forceinline__ void set_up(uint64_t& gate, int threads) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&gate)), "r"(threads) : "memory");
}
__device__ __forceinline__ void arrive_at(uint64_t& gate) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&gate)) : "memory");
}
__device__ __forceinline__ void await(uint64_t& gate, int phase) {
  const uint32_t address = shared_address(&gate), parity = phase & 1;
  uint32_t over;
  do {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
        : "=r"(over)
        : "r"(address), "r"(parity)
        : "memory");
  } while (!over);
  __syncwarp();  // bar.sync and wgmma are for whole warps
}

// 64 channels times 128 pixels, over two taps: d (+)= a times the pixels that the descriptor names.
__device__ __forceinline__ void two_taps(float (&d)[64], const uint32_t (&a)[4], uint64_t pixels, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%SUMS%}, {%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}\n"
      : %OUTPUTS%
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(pixels), "r"(add));
}
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void await_products(float (&d)[64]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" : %OUTPUTS% : : "memory");
}
// What the threads wrote to shared memory is seen by wgmma.
__device__ __forceinline__ void publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Sixteen rows of eight pixels, and for the second tap those `to_second` bytes further. Addresses count 16 bytes.
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

__device__ __forceinline__ double slope_of(const Work& w, int c) {
  return static_cast<double>(w.gamma[c]) * w.scale[c];
}

// The weights of a thread: rows g and g + 8 of its warp's 16 channels, input channels 2t and 2t + 1.
struct Weights {
  uint32_t a[2][4][4];  // [part][which]: of tap rows 0, 1, 2 the taps at 0 and 1; then those at 2 of tap rows 0 and 1
  uint32_t last[2][4];  // the last tap: low part and high part, high part and nothing

  __device__ void load(const Work& w, const Shape& s, int first, float* unscale) {
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
      const float factor = live && slope_of(w, c) < 0 ? -power_of_two(e) : power_of_two(e);
      unscale[c] = power_of_two(-e);  // by both warpgroups the same
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

// Starts the products of 16 rows of eight pixels.
__device__ __forceinline__ void convolve(float (&d)[64], const Weights& w, uint32_t start) {
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
  commit_products();
}

__device__ __forceinline__ double over_quad(double v) {
  v += __shfl_xor_sync(0xffffffffu, v, 1);
  return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

// Warpgroups 0 and 1: each takes every second tile of eight columns, and their products take turns.
__device__ __forceinline__ void consume(const Work& w, const Shape& s, Shared& m, int group) {
  const Place at(w, s);
  const int warp = threadIdx.x % kGroup / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int channel = warp * 16 + g;
  const int rows = min(kRows, s.rows - at.row), cols = min(kCols, s.cols - at.col), pairs = (cols + 15) / 16;
  Weights weights;
  weights.load(w, s, channel, m.unscale_weights);
  if (group == 1) pass_by(kTurn, 2 * kGroup);
  for (int k = 0; k < at.count; ++k) {
    await(m.full[k % 2], k / 2);
    uint32_t start = (shared_address(m.stages[k % 2]) & 0x3ffff) / 16 + group * 8;
    // A window's two lanes each hold half of it for two channels: each lane takes one channel.
    float* most = m.most[k % 2] + (channel + t % 2 * 8) * kChannel + group * 2 + t / 2;
    float sum[2] = {}, squares[2] = {};
    for (int pair = 0; pair < pairs; ++pair, start += 16, most += 4) {
      float d[64];
      wait_at(kTurn + group, 2 * kGroup);
      convolve(d, weights, start);
      if (group == 0 || pair + 1 < pairs || k + 1 < at.count) pass_by(kTurn + 1 - group, 2 * kGroup);
      await_products(d);
      const int x = pair * 16 + group * 8;
      if (rows < kRows || x + 8 > cols) {  // what lies outside does not count, and its windows are not stored
        const int count = cols - x - 2 * t;
#pragma unroll
        for (int j = 0; j < kRows; ++j)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            if (j >= rows || i >= count) d[j * 4 + i] = d[j * 4 + 2 + i] = 0;
      }
#pragma unroll
      for (int row = 0; row < kWindowRows; ++row) {
        float largest[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          largest[h] = d[row * 16 + 2 * h];
#pragma unroll
          for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              const float v = d[(row * 4 + j) * 4 + 2 * h + i];
              largest[h] = fmaxf(largest[h], v);
              sum[h] += v;
              squares[h] = fmaf(v, v, squares[h]);
            }
        }
        const float other = __shfl_xor_sync(0xffffffffu, t % 2 ? largest[0] : largest[1], 1);
        most[row * kWindows] = fmaxf(t % 2 ? largest[1] : largest[0], other);
      }
    }
    if (k + 2 < at.count) arrive_at(m.free[k % 2]);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const double total = over_quad(sum[h]), total_squares = over_quad(squares[h]);
      if (t == 0) {
        m.moments[k % 2][group][channel + h * 8][0] = total;
        m.moments[k % 2][group][channel + h * 8][1] = total_squares;
      }
    }
    arrive_at(m.ready[k % 2]);
  }
}

// Fours of pixels, of all channels, between loading and converting. `live` counts those inside the image.
template <bool kVectors>  // input rows are whole float4s
struct Pixels {
  float v[kAhead][kMaxIn][4];
  int live[kAhead];

  __device__ __forceinline__ void load(const Shape& s, const Place& at, const float* x, int first) {
    const int plane = s.height * s.width;
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int item = first + k * kGroup, y = at.row + item / kQuads, c = at.col + item % kQuads * 4;
      live[k] = item < kItems && y < s.height ? max(min(4, s.width - c), 0) : 0;
      const float* p = x + y * s.width + c;
#pragma unroll
      for (int i = 0; i < kMaxIn; ++i, p += plane) {
        const int here = i < s.in_channels ? live[k] : 0;
        if (kVectors) {
          const float4 four = here ? *reinterpret_cast<const float4*>(p) : make_float4(0, 0, 0, 0);
          v[k][i][0] = four.x;
          v[k][i][1] = four.y;
          v[k][i][2] = four.z;
          v[k][i][3] = four.w;
        } else {
#pragma unroll
          for (int j = 0; j < 4; ++j) v[k][i][j] = j < here ? p[j] : 0.f;
        }
      }
    }
  }

  // To the stage as fp16 pairs, scaled, less means that are scaled already. The magnitudes' maximum joins `largest`.
  __device__ __forceinline__ void convert(unsigned char* stage, float factor, const float (&mean)[kMaxIn], int first,
                                          __half2& largest) const {
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int item = first + k * kGroup;
      if (item >= kItems) break;
      unsigned char* p = stage + item * 4 * kPixel;  // rows follow one another without a gap
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        uint32_t high[4] = {}, low[4] = {};
        if (kVectors ? live[k] > 0 : j < live[k])
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            split(fmaf(v[k][2 * i][j], factor, -mean[2 * i]), fmaf(v[k][2 * i + 1][j], factor, -mean[2 * i + 1]),
                  high[i], low[i]);
            largest = __hmax2(largest, __habs2(*reinterpret_cast<const __half2*>(&high[i])));
          }
        *reinterpret_cast<uint4*>(p + j * kPixel) = make_uint4(high[0], high[1], high[2], high[3]);
        *reinterpret_cast<uint4*>(p + kPart + j * kPixel) = make_uint4(low[0], low[1], low[2], low[3]);
      }
    }
  }
};

// The largest number of the filling warpgroup.
__device__ __forceinline__ float over_group(float largest, float* shared) {
  largest = __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(largest)));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x % kGroup / 32] = largest;
  wait_at(kFilling, kGroup);
  return fmaxf(fmaxf(shared[0], shared[1]), fmaxf(shared[2], shared[3]));
}

// Warpgroup 2 keeps both stages filled.
template <bool kVectors>
__device__ __forceinline__ void fill(const Work& w, const Shape& s, Shared& m) {
  const Place at(w, s);
  const int tid = threadIdx.x % kGroup, lane = tid % 32, plane = s.height * s.width;
  const int height = min(kInRows, s.height - at.row), width = min(kCols + 2, s.width - at.col);
  for (int k = 0; k < at.count; ++k) {
    const float* x = w.x + static_cast<int64_t>(at.first + k * at.step) * s.in_channels * plane;
    // Something near each channel's mean, out of 32 pixels. Every warp finds the same.
    float total = 0;
    if (lane / 4 < s.in_channels) {
      const float* p = x + static_cast<int64_t>(lane / 4) * plane + at.row * s.width + at.col;
#pragma unroll
      for (int i = 0; i < 8; ++i)
        total += p[i * height / 8 * s.width + (lane % 4 * 8 + i) * width / 32] * 0.03125f;
    }
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    float mean[kMaxIn];
#pragma unroll
    for (int i = 0; i < kMaxIn; ++i) mean[i] = __shfl_sync(0xffffffffu, total, i * 4);
    if (tid < kMaxIn) {
      float mine = mean[0];
#pragma unroll
      for (int i = 1; i < kMaxIn; ++i) mine = tid == i ? mean[i] : mine;
      m.mean[k % 8][tid] = mine;
    }
    int e = kUsual;
    for (bool again = false;; again = true) {
      float scaled[kMaxIn];
#pragma unroll
      for (int i = 0; i < kMaxIn; ++i) scaled[i] = mean[i] * power_of_two(e);
      __half2 top = __float2half2_rn(0.f);
#pragma unroll 1
      for (int first = tid; first < kItems; first += kAhead * kGroup) {
        Pixels<kVectors> pixels;
        pixels.load(s, at, x, first);
        if (k >= 2 && first == tid && !again) await(m.free[k % 2], k / 2 - 1);
        pixels.convert(m.stages[k % 2], power_of_two(e), scaled, first, top);
      }
      if (again) break;
      const float largest = over_group(fmaxf(__low2float(top), __high2float(top)), m.largest[0]);
      if (largest >= 2 && largest < 32768) break;
      // Another factor suits these better.
      float most = 0;
#pragma unroll 1
      for (int i = tid; i < s.in_channels * height * width; i += kGroup) {
        const int in = i / (height * width), y = i / width % height, c = i % width;
        most = fmaxf(most, fabsf(x[static_cast<int64_t>(in) * plane + (at.row + y) * s.width + at.col + c] -
                                 m.mean[k % 8][in]));
      }
      e = fitting(over_group(most, m.largest[1]));
    }
    if (tid == 0) m.unscale[k % 4] = power_of_two(-e);
    publish();
    wait_at(kFilling, kGroup);  // `largest` is free again
    arrive_at(m.full[k % 2]);
  }
}

// What the means that were taken off the inputs make of a channel.
__device__ __forceinline__ double taken_off(const Shared& m, const float* mean, int c) {
  double v = 0;
#pragma unroll
  for (int i = 0; i < kMaxIn; ++i) v += m.weights[i][c] * mean[i];
  return v;
}

__device__ __forceinline__ int acquire(const int* p) {
  int v;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}

// Warpgroup 3: moments of a unit, then of its image, then the unit's outputs.
__device__ __forceinline__ void finish(const Work& w, const Shape& s, Shared& m) {
  const Place at(w, s);
  const int tid = threadIdx.x % kGroup, warp = tid / 32, lane = tid % 32, units = s.units();
  const double plane = static_cast<double>(s.rows) * s.cols;
  const double area = static_cast<double>(min(kRows, s.rows - at.row)) * min(kCols, s.cols - at.col);
  for (int i = tid; i < kMaxIn * kOut; i += kGroup) {
    const int in = i / kOut, c = i % kOut;
    double v = 0;
    if (in < s.in_channels && c < s.channels) {
      for (int t = 0; t < kTaps; ++t) v += w.weight[(c * s.in_channels + in) * kTaps + t];
      if (slope_of(w, c) < 0) v = -v;
    }
    m.weights[in][c] = v;
  }
  wait_at(kFinishing, kGroup);
  for (int k = 0; k < min(2, at.count); ++k) arrive_at(m.full[k]);
  for (int k = 0; k < at.count; ++k) {
    await(m.ready[k % 2], k / 2);
    const int image = at.first + k * at.step;
    const float* mean = m.mean[k % 8];
    if (tid < kOut) {
      const double scale = static_cast<double>(m.unscale[k % 4]) * m.unscale_weights[tid];
      const double sum = (m.moments[k % 2][0][tid][0] + m.moments[k % 2][1][tid][0]) * scale;
      const double squares = (m.moments[k % 2][0][tid][1] + m.moments[k % 2][1][tid][1]) * scale * scale;
      const double back = taken_off(m, mean, tid);
      double* p = w.partial + (static_cast<int64_t>(image) * units + at.unit) * 2 * kOut + tid;
      p[0] = sum + area * back;
      p[kOut] = squares + back * (2 * sum + area * back);
      __threadfence();
    }
    wait_at(kFinishing, kGroup);
    if (tid == 0) {
      atomicAdd(w.arrived + image, 1);
      while (acquire(w.arrived + image) != units) __nanosleep(20);
    }
    wait_at(kFinishing, kGroup);
    const int c = tid / 2;  // two threads for a channel
    const double* p = w.partial + static_cast<int64_t>(image) * units * 2 * kOut + c;
    double sum = 0, squares = 0;
#pragma unroll 4
    for (int i = tid % 2; i < units; i += 2) {
      sum += __ldcg(p + i * 2 * kOut);
      squares += __ldcg(p + i * 2 * kOut + kOut);
    }
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    squares += __shfl_xor_sync(0xffffffffu, squares, 1);
    const bool live = c < s.channels;
    const double slope = live ? slope_of(w, c) : 0, sign = slope < 0 ? -1 : 1, bias = live ? w.conv_bias[c] : 0;
    if (tid % 2 == 0) {
      const double deviations = squares - sum * sum / plane;
      m.image[c][0] = sign * sum / plane + bias;
      m.image[c][1] = deviations < 0 ? 0 : deviations;  // a NaN stays
    }
    wait_at(kFinishing, kGroup);
    if (live && tid % 2 == 0) {
      const int first = c / s.per_group * s.per_group;
      double center = 0, deviations = 0;
      for (int i = first; i < first + s.per_group; ++i) center += m.image[i][0];
      center /= s.per_group;
      for (int i = first; i < first + s.per_group; ++i) {
        const double off = m.image[i][0] - center;
        deviations += m.image[i][1] + plane * off * off;
      }
      const double gain = sign * slope / sqrt(deviations / (plane * s.per_group) + w.eps);
      const double scale = static_cast<double>(m.unscale[k % 4]) * m.unscale_weights[c];
      const double from = taken_off(m, mean, c) - sign * (center - bias);
      m.affine[c] = {static_cast<float>(scale * gain),
                     static_cast<float>(from * gain + static_cast<double>(w.beta[c]) * w.scale[c])};
    }
    wait_at(kFinishing, kGroup);
    const int py = at.row / 4, px = at.col / 4 + lane;
#pragma unroll 2
    for (int out = warp; out < s.channels; out += kGroup / 32) {
      const Affine f = m.affine[out];
      const float* most = m.most[k % 2] + out * kChannel + lane;
      float* p = w.out + ((static_cast<int64_t>(image) * s.channels + out) * s.pooled_rows + py) * s.pooled_cols + px;
#pragma unroll
      for (int row = 0; row < kWindowRows; ++row) {
        float v = fmaf(most[row * kWindows], f.gain, f.offset);
        v = v < w.lo ? w.lo : v;  // in this form a NaN stays NaN
        v = v > w.hi ? w.hi : v;
        if (px < s.pooled_cols && py + row < s.pooled_rows) p[row * s.pooled_cols] = v;
      }
    }
    if (k + 2 < at.count) arrive_at(m.full[k % 2]);
  }
}

__global__ void __launch_bounds__(kThreads, 1) everything(const Work w, const Shape s) {
  extern __shared__ __align__(128) unsigned char memory[];
  Shared& m = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    for (int k = 0; k < 2; ++k) {
      set_up(m.full[k], 2 * kGroup);
      set_up(m.free[k], 2 * kGroup);
      set_up(m.ready[k], 2 * kGroup);
    }
  }
  __syncthreads();
  const int role = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x / kGroup), 0);
  if (role < 2) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
    consume(w, s, m, role);
  } else if (role == 2) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 120;");
    if (s.vectors)
      fill<true>(w, s, m);
    else
      fill<false>(w, s, m);
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 72;");
    finish(w, s, m);
  }
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
  TORCH_CHECK(channels <= kOut && channels % groups == 0, "expected at most 64 channels in equal groups");
  TORCH_CHECK(rows >= 4 && cols >= 4, "the pooling window is larger than its input");
  TORCH_CHECK(x.numel() / images < (int64_t{1} << 31) && images < (int64_t{1} << 31), "too large for 32-bit indices");
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
  s.strips = (s.rows + kRows - 1) / kRows;
  s.spans = (s.cols + kCols - 1) / kCols;
  s.vectors = s.width % 4 == 0 && reinterpret_cast<uintptr_t>(x.const_data_ptr<float>()) % 16 == 0;
  at::Tensor out = at::empty({images, channels, s.pooled_rows, s.pooled_cols}, x.options());
  at::Tensor partial = at::empty({images, s.units(), 2, kOut}, x.options().dtype(at::kDouble));
  at::Tensor arrived = at::zeros({images}, x.options().dtype(at::kInt));
  Work w = {x.const_data_ptr<float>(),     weight.const_data_ptr<float>(),
            conv_bias.const_data_ptr<float>(), gamma.const_data_ptr<float>(),
            beta.const_data_ptr<float>(),  scale.const_data_ptr<float>(),
            out.mutable_data_ptr<float>(), partial.mutable_data_ptr<double>(),
            arrived.mutable_data_ptr<int>(), eps,
            static_cast<float>(lo),        static_cast<float>(hi),
            static_cast<int>(images)};
  const size_t bytes = sizeof(Shared);
  const auto kind = cudaFuncAttributeMaxDynamicSharedMemorySize;
  C10_CUDA_CHECK(cudaFuncSetAttribute(everything, kind, static_cast<int>(bytes)));
  int processors = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, x.get_device()));
  const int64_t units = s.units(), together = processors / units;
  TORCH_CHECK(together > 0, "an image has more strips than the device has multiprocessors");
  // Whole images at a time: a block waits only for blocks that are as far as itself.
  const unsigned grid = static_cast<unsigned>((images < together ? images : together) * units);
  void* arguments[] = {&w, &s};
  C10_CUDA_CHECK(cudaLaunchCooperativeKernel(everything, dim3(grid), dim3(kThreads), arguments, bytes, stream));
  return out;
}
""".replace("%SUMS%", ", ".join(f"%{i}" for i in range(64))).replace(
    "%OUTPUTS%", ", ".join(f'"+f"(d[{i}])' for i in range(64))
)

_extension = load_inline(
    name="kb_conv_groupnorm_pool_clamp_pingpong",
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
            and channels <= 64
            and self.scale.numel() == channels
            and self.maxpool_kernel_size == 4
            and min(x.shape[2:]) >= 6
            and self._strips(x) <= min(64, torch.cuda.get_device_properties(x.device).multi_processor_count)
        )

    def _strips(self, x):
        """Of an image: 16 rows of up to 128 outputs each, which have a block of their own at the same time."""
        return -(-(x.shape[2] - 2) // 16) * -(-(x.shape[3] - 2) // 128)

    def _plain(self, x):
        """The same function out of torch's operators."""
        pooled = nn.functional.max_pool2d(self.group_norm(self.conv(x)) * self.scale, self.maxpool_kernel_size)
        return torch.clamp(pooled, self.clamp_min, self.clamp_max)
