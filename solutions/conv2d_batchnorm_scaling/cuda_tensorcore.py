"""Conv2d, BatchNorm2d and a constant factor on CUDA: two passes that convolve on tensor cores.

The first pass keeps only each channel's moments, the second convolves again and writes the affine function of the
sums. So the large tensor is written once and never read.

fp32 operands are split into two fp16 parts each, v * 2^k = hi + lo with 22 bits, k by the tile's largest magnitude
(for weights: by the channel's). Three products, hi*hi + hi*lo + lo*hi, leave an error of some 2^-22 of each operand,
as fp32 summation does; fp16's narrow range does not matter, since it is used from its upper end and what is below it
is smaller than 2^-39 of the largest. A tile with infinities, NaN or magnitudes beyond 2^40 is done in plain fp32.

Moments are deviations from the mean of 16 values in registers, joined in double in a fixed order, so repeated calls
agree bit for bit. Where autograd records, and for other shapes, torch's own operators run.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor conv_batchnorm_scale(at::Tensor x, at::Tensor weight, at::Tensor conv_bias,
                                at::Tensor gamma, at::Tensor beta, at::Tensor running_mean,
                                at::Tensor running_var, at::Tensor batches, bool training,
                                double momentum, double eps, double factor);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace {

constexpr int kIn = 8;     // input channels: a pixel's are 16 bytes of fp16
constexpr int kTaps = 9;   // 3 x 3
constexpr int kSteps = 5;  // of the tensor cores, two taps each; the tenth has the weight 0
constexpr int kChannels = 64;
constexpr int kRows = 8, kCols = 128;  // a unit's output pixels
constexpr int kInRows = kRows + 2;
constexpr int kInCols = kCols + 8;  // from 4 pixels before the unit on, so that copies of 16 bytes are aligned
constexpr int kPitch = 144;         // pixels between rows in shared memory
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kGroups = 4;            // a warp's 64 pixels, as groups of 16
constexpr int kHalves = kChannels / 32;  // a warp has 32 channels
constexpr int kRowsAtOnce = kWarps / 2 / kHalves;

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void cp_async_16(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

__device__ __forceinline__ void cp_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// d += a * b: 16 x 16 by 16 x 8, fp16 with fp32 sums.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// v = hi + lo with fp16 parts: 22 bits of v, where it is at least 2^-3 and below 2^16; smaller ones to 2^-25.
__device__ __forceinline__ void split(float v0, float v1, uint32_t& hi, uint32_t& lo) {
  const __half2 h = __floats2half2_rn(v0, v1);
  const float2 back = __half22float2(h);
  const __half2 l = __floats2half2_rn(v0 - back.x, v1 - back.y);
  hi = *reinterpret_cast<const uint32_t*>(&h);
  lo = *reinterpret_cast<const uint32_t*>(&l);
}

// Powers of two that bring values below 2^(e - 126) under 2^15, and back; e is a biased exponent.
__device__ __forceinline__ float scale_for(uint32_t e) { return __uint_as_float((268 - e) << 23); }
__device__ __forceinline__ float undo_for(uint32_t e) { return __uint_as_float((e - 14) << 23); }

// The biased exponent of the largest magnitude's bits. False where it is so far out (or infinite, or NaN) that
// plain fp32 arithmetic has to do.
__device__ __forceinline__ bool sane(uint32_t bits, uint32_t& e) {
  e = bits == 0 ? 127 : bits >> 23;
  return e >= 127 - 40 && e <= 127 + 40;
}

struct Geometry {
  int images, channels, height, width, rows, cols, tiles_y, tiles_x;
  bool vector_in, vector_out;

  __device__ int64_t plane() const { return static_cast<int64_t>(rows) * cols; }
  // How far tiles of this row begin before a multiple of 128, so that four pixels are 16 aligned bytes.
  __device__ int shift(int row) const { return vector_out ? static_cast<int>(int64_t{row} * cols & 3) : 0; }
};

struct Place {
  int image, row, col;

  __device__ Place(const Geometry& g, int unit) {
    const int x = unit % g.tiles_x, y = unit / g.tiles_x % g.tiles_y;
    image = unit / g.tiles_x / g.tiles_y;
    row = y * kRows;
    col = x * kCols;
  }
};

// Where pixel u of a row lies: eight rows of a fragment then fall on eight different banks of 16 bytes.
__device__ __forceinline__ int swizzled(int u) { return u ^ (u >> 2 & 2); }

struct __align__(16) Tile {
  uint4 hi[kInRows * kPitch];  // a pixel's eight channels, fp16
  uint4 lo[kInRows * kPitch];
  float raw[kIn * kInRows * kInCols];
  uint4 weights[kChannels / 16 * kSteps * 2 * 32];  // fragments: [16 channels][step][hi, lo][lane]
  float undo[kChannels];
  uint32_t most[kWarps];
};

// Begins to copy a unit's pixels into tile.raw. Beyond the image they are 0.
__device__ void fetch(Tile& tile, const float* x, const Geometry& g, const Place& p) {
  constexpr int kQuads = kInCols / 4;
  for (int i = threadIdx.x; i < kIn * kInRows * kQuads; i += kThreads) {
    const int quad = i % kQuads, line = i / kQuads;
    const int y = p.row + line % kInRows, col = p.col - 4 + 4 * quad;
    float* to = tile.raw + line * kInCols + 4 * quad;
    const float* from =
        x + ((int64_t{p.image} * kIn + line / kInRows) * g.height + y) * int64_t{g.width} + col;
    if (g.vector_in && y < g.height && col >= 0 && col < g.width) {
      cp_async_16(shared_address(to), from);
    } else {
      for (int j = 0; j < 4; ++j)
        to[j] = y < g.height && col + j >= 0 && col + j < g.width ? from[j] : 0.f;
    }
  }
  cp_async_commit();
}

// After the fetch: tile.raw to tile.hi and tile.lo, scaled. Returns false where plain arithmetic has to do; else
// `undo` is what the scaling is undone with. Other threads' pixels are there only after one more barrier.
__device__ bool split_tile(Tile& tile, float& undo) {
  cp_async_wait_all();
  __syncthreads();
  uint32_t most = 0;
  for (int i = threadIdx.x; i < kIn * kInRows * kInCols; i += kThreads)
    most = max(most, __float_as_uint(tile.raw[i]) & 0x7fffffffu);
  most = __reduce_max_sync(0xffffffffu, most);
  if (threadIdx.x % 32 == 0) tile.most[threadIdx.x / 32] = most;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) most = max(most, tile.most[w]);
  uint32_t e;
  if (!sane(most, e)) {
    undo = 1.f;
    return false;
  }
  undo = undo_for(e);
  const float scale = scale_for(e);
  for (int i = threadIdx.x; i < kInRows * kInCols; i += kThreads) {
    const int row = i / kInCols, u = i % kInCols;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      split(tile.raw[(2 * j * kInRows + row) * kInCols + u] * scale,
            tile.raw[((2 * j + 1) * kInRows + row) * kInCols + u] * scale, hi[j], lo[j]);
    const int at = row * kPitch + swizzled(u);
    tile.hi[at] = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    tile.lo[at] = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  return true;
}

// Splits the weights of kChannels channels, each channel with a scale of its own. False where one is out of range.
__device__ bool split_weights(Tile& tile, const float* weight) {
  int bad = 0;
  for (int c = threadIdx.x / 32; c < kChannels; c += kWarps) {
    uint32_t most = 0, e;
    for (int k = threadIdx.x % 32; k < kIn * kTaps; k += 32)
      most = max(most, __float_as_uint(weight[c * kIn * kTaps + k]) & 0x7fffffffu);
    most = __reduce_max_sync(0xffffffffu, most);
    bad |= !sane(most, e);
    if (threadIdx.x % 32 == 0) tile.undo[c] = undo_for(e);
  }
  if (__syncthreads_or(bad)) return false;
  for (int i = threadIdx.x; i < kChannels / 16 * kSteps * 32; i += kThreads) {
    const int lane = i % 32, step = i / 32 % kSteps, m = i / 32 / kSteps;
    uint32_t hi[4], lo[4];
    for (int j = 0; j < 4; ++j) {
      const int c = 16 * m + lane / 4 + 8 * (j & 1), tap = 2 * step + (j >> 1);
      const float scale = 1.f / tile.undo[c];  // powers of two
      const float* w = weight + (c * kIn + 2 * (lane % 4)) * kTaps + tap;
      split(tap < kTaps ? w[0] * scale : 0.f, tap < kTaps ? w[kTaps] * scale : 0.f, hi[j], lo[j]);
    }
    uint4* to = tile.weights + (m * kSteps + step) * 2 * 32 + lane;
    to[0] = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    to[32] = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  return true;
}

// A warp's sums: 32 channels by 16 * kGroups pixels of one row. Of fragment m, sum[m][2 q + i / 2][j] belongs to
// channel 16 m + lane / 4 + 8 (j / 2) and pixel 16 q + 4 (lane % 4) + 2 (i / 2) + j % 2: four pixels side by side.
using Sums = float[2][2 * kGroups][4];

// Three products of the parts; lo * lo is below the last bit. `u` is the first pixel's place in the tile's row.
__device__ __forceinline__ void multiply(const Tile& tile, int first_channel, int row, int u, Sums& sum) {
  const int lane = threadIdx.x % 32, matrix = lane / 8, j = lane % 8;
  const int within = u % 16 + 4 * (j >> 1) + (j & 1) + 2 * (matrix >> 1);
  const uint32_t base = shared_address(tile.hi) + (row * kPitch + u / 16 * 16) * 16;
  constexpr uint32_t kToLo = sizeof tile.hi;
  const uint4* weights = tile.weights + first_channel / 16 * kSteps * 2 * 32 + lane;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 2 * kGroups; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[m][n][e] = 0.f;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int tap = min(2 * step + (matrix & 1), kTaps - 1);
    const uint32_t from = base + (tap / 3 * kPitch + swizzled(within + tap % 3)) * 16;
    uint32_t a[2][2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const uint4 w = weights[((m * kSteps + step) * 2 + part) * 32];
        a[m][part][0] = w.x, a[m][part][1] = w.y, a[m][part][2] = w.z, a[m][part][3] = w.w;
      }
#pragma unroll
    for (int q = 0; q < kGroups; ++q) {
      uint32_t hi[4], lo[4];
      ldmatrix_x4(hi, from + q * 256);
      ldmatrix_x4(lo, from + q * 256 + kToLo);
#pragma unroll
      for (int product = 0; product < 3; ++product)
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // four sums, so that none waits for the product before
          const uint32_t* b = (product == 1 ? lo : hi) + i / 2 * 2;
          mma_m16n8k16_f16(sum[i % 2][2 * q + i / 2], a[i % 2][product == 0], b[0], b[1]);
        }
    }
  }
}

// The same sums in plain fp32, for tiles with infinities, NaN or magnitudes out of all proportion.
__device__ __forceinline__ void multiply_plainly(const float* x, const float* weight, const Geometry& g,
                                                 int image, int row, int col, Sums& sum) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 2 * kGroups; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[m][n][e] = 0.f;
  const float* pixels = x + int64_t{image} * kIn * g.height * g.width;
#pragma unroll 1
  for (int k = 0; k < kIn * kTaps; ++k) {
    const int y = min(row + k % kTaps / 3, g.height - 1);
    const float* line = pixels + (k / kTaps * int64_t{g.height} + y) * g.width;
#pragma unroll
    for (int n = 0; n < 2 * kGroups; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int at = col + n / 2 * 16 + 4 * (lane % 4) + 2 * (n % 2) + e + k % 3;
        const float v = line[max(0, min(at, g.width - 1))];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          sum[m][n][e] += v * weight[(16 * m + lane / 4) * kIn * kTaps + k];
          sum[m][n][e + 2] += v * weight[(16 * m + lane / 4 + 8) * kIn * kTaps + k];
        }
      }
  }
}

// Four pixels side by side; `line` is the row's first one.
__device__ __forceinline__ void store_quad(float* line, int col, const Geometry& g, const float (&v)[4]) {
  if (g.vector_out && col >= 0 && col + 4 <= g.cols) {
    __stcs(reinterpret_cast<float4*>(line + col), make_float4(v[0], v[1], v[2], v[3]));
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (col + j >= 0 && col + j < g.cols) line[col + j] = v[j];
  }
}

// As a tree, since the rounding of a tree has no bias for equal values.
template <int K>
__device__ __forceinline__ float tree_sum(const float* x) {
  if constexpr (K == 1)
    return x[0];
  else
    return tree_sum<K / 2>(x) + tree_sum<K / 2>(x + K / 2);
}

// Sums of values and of squares. The squares of a chunk are its deviations from its own mean, in fp32, and its total's
// square over its length, in double: so nothing cancels in fp32 however far the mean is from zero.
struct Moments {
  double sum, squares;

  // Of v[i] * unit, or only those whose bit is set in `keep`.
  template <int K, bool kAll>
  __device__ __forceinline__ void add(float (&v)[K], uint32_t keep, float unit) {
    const int count = kAll ? K : __popc(keep);
    if constexpr (!kAll) {
#pragma unroll
      for (int i = 0; i < K; ++i) v[i] = keep >> i & 1 ? v[i] : 0.f;
    }
    const float rounded = tree_sum<K>(v), mean = kAll ? rounded * (1.f / K) : rounded / max(count, 1);
    float within = 0;
#pragma unroll
    for (int i = 0; i < K; ++i) {
      const float d = v[i] - mean;
      within += (kAll || (keep >> i & 1)) ? d * d : 0.f;
    }
    const double total = static_cast<double>(rounded) * unit;
    sum += total;
    squares += total * total / (kAll ? K : max(count, 1)) + static_cast<double>(within) * unit * unit;
  }

  __device__ void merge(const Moments& other) {
    sum += other.sum;
    squares += other.squares;
  }

  // Not fmax: that would turn a NaN into 0.
  __device__ double squared_deviations(double n) const {
    const double m2 = squares - sum * sum / n;
    return m2 < 0 ? 0 : m2;
  }
};

// Over groups of `width` lanes, valid in the first of each. The order is fixed, so results repeat bit for bit.
__device__ __forceinline__ Moments lanes_sum(Moments m, int width) {
  for (int step = width / 2; step > 0; step /= 2) {
    Moments other;
    other.sum = __shfl_down_sync(0xffffffffu, m.sum, step);
    other.squares = __shfl_down_sync(0xffffffffu, m.squares, step);
    m.merge(other);
  }
  return m;
}

// Called by one whole warp: sum of `count` partial results, valid in lane 0.
__device__ Moments gather(const Moments* partial, int64_t count) {
  Moments m = {0, 0};
  for (int64_t i = threadIdx.x % 32; i < count; i += 32) m.merge(partial[i]);
  return lanes_sum(m, 32);
}

// y = conv * gain + offset.
struct Line {
  float gain, offset;
};

// Convolves units blockIdx.x, blockIdx.x + gridDim.x, and so on, for channels blockIdx.y * kChannels on. Either
// gathers the moments of each channel, or writes the affine function of the sums.
template <bool kMoments>
__global__ void __launch_bounds__(kThreads, 2)
convolve(const float* x, const float* weight, Geometry g, int units, const Line* lines, float* y, Moments* partial,
         int64_t* batches) {
  extern __shared__ uint4 storage[];
  Tile& tile = *reinterpret_cast<Tile*>(storage);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int half = warp % kHalves * 32, side = warp / kHalves % 2 * 64, first_row = warp / kHalves / 2;
  const int channel = blockIdx.y * kChannels;
  weight += static_cast<int64_t>(channel) * kIn * kTaps;
  const bool weights_split = split_weights(tile, weight);
  if (!kMoments && batches != nullptr && blockIdx.x + blockIdx.y + threadIdx.x == 0) *batches += 1;

  // This thread's four channels: half + lane / 4 + 8 i.
  Moments moments[4] = {};
  if (blockIdx.x < units) fetch(tile, x, g, Place(g, blockIdx.x));
  for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const Place place(g, unit);
    float undo;
    const bool tile_split = split_tile(tile, undo);
    const bool plain = !(weights_split && tile_split);
    __syncthreads();
    if (unit + gridDim.x < units) fetch(tile, x, g, Place(g, unit + gridDim.x));
#pragma unroll 1
    for (int r = first_row; r < kRows && place.row + r < g.rows; r += kRowsAtOnce) {
      const int row = place.row + r, shift = g.shift(row), col = place.col + side - shift;
      if (col >= g.cols) continue;
      Sums sum;
      if (plain)
        multiply_plainly(x, weight + half * kIn * kTaps, g, place.image, row, col, sum);
      else
        multiply(tile, half, r, side + 4 - shift, sum);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int c = half + lane / 4 + 8 * i;
        const float unit_of_sums = plain ? 1.f : undo * tile.undo[c];
        if constexpr (kMoments) {
          float v[4 * kGroups];
          uint32_t keep = 0;
#pragma unroll
          for (int k = 0; k < 4 * kGroups; ++k) {
            v[k] = sum[i / 2][k / 2][2 * (i % 2) + k % 2];
            const int at = col + k / 4 * 16 + 4 * (lane % 4) + k % 4;
            keep |= (at >= 0 && at < g.cols ? 1u : 0u) << k;
          }
          if (col >= 0 && col + 16 * kGroups <= g.cols)
            moments[i].template add<4 * kGroups, true>(v, keep, unit_of_sums);
          else
            moments[i].template add<4 * kGroups, false>(v, keep, unit_of_sums);
        } else {
          const Line line = lines[channel + c];
          const float gain = line.gain * unit_of_sums, offset = line.offset;
          float* to = y + (static_cast<int64_t>(place.image) * g.channels + channel + c) * g.plane() +
                      static_cast<int64_t>(row) * g.cols;
#pragma unroll
          for (int q = 0; q < kGroups; ++q) {
            float v[4];
#pragma unroll
            for (int k = 0; k < 4; ++k) v[k] = sum[i / 2][2 * q + k / 2][2 * (i % 2) + k % 2] * gain + offset;
            store_quad(to, col + 16 * q + 4 * (lane % 4), g, v);
          }
        }
      }
    }
  }
  if constexpr (kMoments) {
    Moments* shared = reinterpret_cast<Moments*>(tile.raw);  // [warp][32 channels]
    __syncthreads();
    for (int i = 0; i < 4; ++i) {
      const Moments m = lanes_sum(moments[i], 4);
      if (lane % 4 == 0) shared[warp * 32 + lane / 4 + 8 * i] = m;
    }
    __syncthreads();
    if (threadIdx.x < kChannels) {
      Moments m = {0, 0};
      for (int w = threadIdx.x / 32; w < kWarps; w += kHalves) m.merge(shared[w * 32 + threadIdx.x % 32]);
      partial[static_cast<int64_t>(channel + threadIdx.x) * gridDim.x + blockIdx.x] = m;
    }
  }
}

struct Norm {
  const float *conv_bias, *gamma, *beta;
  float *mean, *var;
  const int64_t* batches;
  double momentum, eps, factor;  // a momentum below 0: the average over all batches
};

// The affine function of a channel's sums without bias, from their mean and squared deviations; in training also
// moves the running statistics, whose variance is the unbiased one.
__device__ Line finish(const Norm& norm, int64_t c, bool training, double mean, double m2, double n) {
  double var = norm.var[c], centre = norm.mean[c] - static_cast<double>(norm.conv_bias[c]);
  if (training) {
    const double share = norm.momentum < 0 ? 1.0 / (*norm.batches + 1) : norm.momentum;
    norm.mean[c] = static_cast<float>((1 - share) * norm.mean[c] + share * (mean + norm.conv_bias[c]));
    norm.var[c] = static_cast<float>((1 - share) * var + share * (m2 / (n - 1)));
    var = m2 / n;
    centre = mean;
  }
  const double gain = norm.gamma[c] / sqrt(var + norm.eps) * norm.factor;
  return {static_cast<float>(gain), static_cast<float>(norm.beta[c] * norm.factor - centre * gain)};
}

// One warp per channel.
__global__ void finish_channels(const Moments* partial, int64_t count, double n, bool training, Norm norm,
                                Line* lines) {
  const int64_t c = blockIdx.x;
  Moments m = {0, 0};
  if (training) m = gather(partial + c * count, count);
  if (threadIdx.x == 0) lines[c] = finish(norm, c, training, m.sum / n, m.squared_deviations(n), n);
}

// A contiguous vector of parameters, on x's device and in fp32, as the kernels read it.
at::Tensor parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.device() == x.device() && p.numel() == n,
              "expected ", n, " fp32 parameters on ", x.device());
  return p.contiguous();
}

Geometry geometry_of(const at::Tensor& x, int64_t channels) {
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == at::kFloat && x.is_cuda() && x.size(1) == kIn,
              "expected a 4-d fp32 CUDA tensor of ", kIn, " channels");
  TORCH_CHECK(x.size(2) > 2 && x.size(3) > 2, "the input is smaller than the kernel");
  Geometry g;
  g.images = x.size(0);
  g.channels = channels;
  g.height = x.size(2);
  g.width = x.size(3);
  g.rows = g.height - 2;
  g.cols = g.width - 2;
  g.vector_in = g.width % 4 == 0 && reinterpret_cast<uintptr_t>(x.const_data_ptr<float>()) % 16 == 0;
  g.vector_out = static_cast<int64_t>(g.rows) * g.cols % 4 == 0;
  const int most = !g.vector_out || g.cols % 4 == 0 ? 0 : g.cols % 2 == 0 ? 2 : 3;
  g.tiles_y = (g.rows + kRows - 1) / kRows;
  g.tiles_x = (g.cols + most + kCols - 1) / kCols;
  const int64_t units = int64_t{g.images} * g.tiles_y * g.tiles_x;
  TORCH_CHECK(units < (int64_t{1} << 30), "the input is too large");
  return g;
}

int resident_blocks(int blocks_per_multiprocessor) {
  int device = 0, count = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count * blocks_per_multiprocessor;
}

}  // namespace

at::Tensor conv_batchnorm_scale(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor gamma,
                                at::Tensor beta, at::Tensor running_mean, at::Tensor running_var,
                                at::Tensor batches, bool training, double momentum, double eps, double factor) {
  at::NoGradGuard no_grad;
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  const int64_t channels = weight.size(0);
  const Geometry g = geometry_of(x, channels);
  at::Tensor y = at::empty({g.images, channels, g.rows, g.cols}, x.options());
  const double n = static_cast<double>(g.images) * g.rows * g.cols;
  TORCH_CHECK(!training || n > 1, "expected more than 1 value per channel when training");
  if (y.numel() == 0) return y;
  weight = parameter(weight, x, channels * kIn * kTaps);
  conv_bias = parameter(conv_bias, x, channels);
  gamma = parameter(gamma, x, channels);
  beta = parameter(beta, x, channels);
  TORCH_CHECK(running_mean.is_contiguous() && running_var.is_contiguous(),
              "running statistics must be contiguous, they are updated in place");
  parameter(running_mean, x, channels);
  parameter(running_var, x, channels);
  TORCH_CHECK(batches.scalar_type() == at::kLong && batches.device() == x.device(),
              "expected an int64 batch counter on ", x.device());

  const int units = g.images * g.tiles_y * g.tiles_x;
  const int blocks = std::min(units, resident_blocks(2));
  const dim3 grid(blocks, channels / kChannels);
  at::Tensor partial = at::empty({training ? channels * blocks : 0, 2}, x.options().dtype(at::kDouble));
  at::Tensor lines = at::empty({channels, 2}, x.options());
  Moments* moments = reinterpret_cast<Moments*>(partial.data_ptr<double>());
  Line* line = reinterpret_cast<Line*>(lines.data_ptr<float>());
  const float* px = x.const_data_ptr<float>();
  const float* pw = weight.const_data_ptr<float>();
  const Norm norm = {conv_bias.const_data_ptr<float>(), gamma.const_data_ptr<float>(),
                     beta.const_data_ptr<float>(), running_mean.mutable_data_ptr<float>(),
                     running_var.mutable_data_ptr<float>(), batches.const_data_ptr<int64_t>(),
                     momentum, eps, factor};
  if (training) {
    C10_CUDA_CHECK(cudaFuncSetAttribute(convolve<true>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Tile)));
    convolve<true><<<grid, kThreads, sizeof(Tile), stream>>>(px, pw, g, units, nullptr, nullptr, moments, nullptr);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  finish_channels<<<static_cast<unsigned>(channels), 32, 0, stream>>>(moments, blocks, n, training, norm, line);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  C10_CUDA_CHECK(cudaFuncSetAttribute(convolve<false>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Tile)));
  convolve<false><<<grid, kThreads, sizeof(Tile), stream>>>(
      px, pw, g, units, line, y.mutable_data_ptr<float>(), nullptr,
      training ? batches.mutable_data_ptr<int64_t>() : nullptr);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}
"""


_extension = load_inline(
    name="kb_conv_batchnorm_scale_tensorcore",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["conv_batchnorm_scale"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, scaling_factor):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bn = nn.BatchNorm2d(out_channels)  # holds parameters and buffers
        self.scaling_factor = scaling_factor

    def forward(self, x):
        if torch.is_grad_enabled() or not self._suits(x):
            return self._with_operators(x)
        bn = self.bn
        return _extension.conv_batchnorm_scale(
            x,
            self.conv.weight,
            self.conv.bias,
            bn.weight,
            bn.bias,
            bn.running_mean,
            bn.running_var,
            bn.num_batches_tracked,
            bn.training,
            -1.0 if bn.momentum is None else bn.momentum,
            bn.eps,
            self.scaling_factor,
        )

    def _suits(self, x):
        """Whether the kernels serve: fp32 on CUDA, 3x3 over 8 channels, a multiple of 64 output channels."""
        out_channels, *window = self.conv.weight.shape
        return window == [8, 3, 3] and out_channels % 64 == 0 and x.is_cuda and x.dtype == torch.float32

    def _with_operators(self, x):
        """The same function out of torch's operators: where autograd records, and for any other shape."""
        return self.bn(self.conv(x)) * self.scaling_factor
