"""Conv2d, +bias, *scale, sigmoid and GroupNorm on CUDA: one convolution, whose result waits in registers.

Blocks are all resident, in teams. A team's blocks share one image, two rows each, and hold the sigmoid of all 32
channels there in registers. They add their moments to the image's, wait until all have, and then normalise what they
hold and write it. So the convolution is done once, and the large tensor is written once and never read. Three teams
take turns on each multiprocessor: one convolves or waits while another stores.

fp32 operands are split into two fp16 parts each, v * 2^k = hi + lo with 22 bits, k by the block's largest magnitude
(for weights: by the channel's). Three products, hi*hi + hi*lo + lo*hi, leave an error of some 2^-22 of each operand,
as fp32 summation does; fp16's narrow range does not matter, since it is used from its upper end and what is below it
is smaller than 2^-39 of the largest. Rows with infinities, NaN or magnitudes beyond 2^40 are done in plain fp32.

Moments are deviations from the mean of 32 values in registers, joined in double in a fixed order whoever comes first,
so repeated calls agree bit for bit. Where autograd records, and for other shapes, torch's own operators run.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor conv_sigmoid_groupnorm(at::Tensor x, at::Tensor weight, at::Tensor conv_bias,
                                  at::Tensor bias, at::Tensor scale, at::Tensor gamma,
                                  at::Tensor beta, int64_t groups, double eps);
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
constexpr int kChannels = 32;
constexpr int kRows = 2, kCols = 256;  // a block's output pixels: half a row for each warp
constexpr int kInRows = kRows + 2;
constexpr int kInCols = kCols + 8;  // from 4 pixels before the first column on, so that copies of 16 bytes are aligned
constexpr int kPitch = 272;         // pixels between rows in shared memory
constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kGroups = 8;  // a warp's 128 pixels, as groups of 16
constexpr int kResident = 3;  // blocks on a multiprocessor
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

__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / (1 + 2^z) of two numbers with one reciprocal. So that the product of the denominators is finite, z is cut at 60:
// then 2^-60 stands for something smaller, and beside an eps of 1e-5 neither counts. NaN stays NaN.
__device__ __forceinline__ void gate(float& z0, float& z1) {
  const float d0 = 1.f + exp2_approx(z0 > 60.f ? 60.f : z0), d1 = 1.f + exp2_approx(z1 > 60.f ? 60.f : z1);
  const float r = reciprocal_approx(d0 * d1);
  z0 = r * d1;
  z1 = r * d0;
}

// The same number, as if unknown: what follows from it is computed where it is used, not kept in registers.
__device__ __forceinline__ int opaque(int x) {
  int y;
  asm volatile("mov.u32 %0, %1;" : "=r"(y) : "r"(x));
  return y;
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
  // How far tiles of this row begin before a multiple of 4, so that four pixels are 16 aligned bytes.
  __device__ int shift(int row) const { return vector_out ? static_cast<int>(int64_t{row} * cols & 3) : 0; }
};

struct Place {
  int image, row, col;
};

// Where pixel u of a row lies: eight rows of a fragment then fall on eight different banks of 16 bytes.
__device__ __forceinline__ int swizzled(int u) { return u ^ (u >> 2 & 2); }

struct __align__(16) Tile {
  union {
    struct {
      uint4 hi[kInRows * kPitch];  // a pixel's eight channels, fp16
      uint4 lo[kInRows * kPitch];
    };
    float raw[kIn * kInRows * kInCols];  // before
  };
  uint4 weights[kChannels / 16 * kSteps * 2 * 32];  // fragments: [16 channels][step][hi, lo][lane]
  float undo[kChannels];
  uint32_t most[kWarps];
};

// Begins to copy a unit's pixels into tile.raw. Beyond the image they are 0.
__device__ void fetch(Tile& tile, const float* x, const Geometry& g, const Place& p) {
  constexpr int kQuads = kInCols / 4;
#pragma unroll 1  // the sums are in registers meanwhile
  for (int i = threadIdx.x; i < kIn * kInRows * kQuads; i += kThreads) {
    const int quad = i % kQuads, line = i / kQuads;
    const int y = p.row + line % kInRows, col = p.col - 4 + 4 * quad;
    float* to = tile.raw + line * kInCols + 4 * quad;
    const float* from =
        x + ((int64_t{p.image} * kIn + line / kInRows) * g.height + y) * int64_t{g.width} + col;
    if (g.vector_in && y < g.height && col >= 0 && col < g.width) {
      cp_async_16(shared_address(to), from);
    } else {
#pragma unroll 1
      for (int j = 0; j < 4; ++j)
        to[j] = y < g.height && col + j >= 0 && col + j < g.width ? from[j] : 0.f;
    }
  }
  cp_async_commit();
}

// After the fetch: tile.raw to tile.hi and tile.lo, scaled, by way of registers. Returns false where plain arithmetic
// has to do; else `undo` is what the scaling is undone with. Ends with a barrier.
__device__ __forceinline__ bool split_tile(Tile& tile, float& undo) {
  constexpr int kPixels = kInRows * kInCols, kEach = (kPixels + kThreads - 1) / kThreads;
  const int thread = opaque(threadIdx.x);
  cp_async_wait_all();
  __syncthreads();
  float v[kEach][kIn];
  uint32_t most = 0, e;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int i = thread + k * kThreads;
#pragma unroll
    for (int c = 0; c < kIn; ++c) {
      v[k][c] = i < kPixels ? tile.raw[c * kPixels + i] : 0.f;
      most = max(most, __float_as_uint(v[k][c]) & 0x7fffffffu);
    }
  }
  most = __reduce_max_sync(0xffffffffu, most);
  if (threadIdx.x % 32 == 0) tile.most[threadIdx.x / 32] = most;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) most = max(most, tile.most[w]);
  const bool split_well = sane(most, e);
  undo = split_well ? undo_for(e) : 1.f;
  const float scale = split_well ? scale_for(e) : 0.f;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int i = thread + k * kThreads, at = i / kInCols * kPitch + swizzled(i % kInCols);
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) split(v[k][2 * j] * scale, v[k][2 * j + 1] * scale, hi[j], lo[j]);
    if (i < kPixels) {
      tile.hi[at] = make_uint4(hi[0], hi[1], hi[2], hi[3]);
      tile.lo[at] = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    }
  }
  __syncthreads();
  return split_well;
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
  const int lane = opaque(threadIdx.x) % 32, matrix = lane / 8, j = lane % 8;
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
#pragma unroll 1
  for (int step = 0; step < kSteps; ++step) {
    const int tap = min(2 * step + (matrix & 1), kTaps - 1);
    const uint32_t from = base + (tap / 3 * kPitch + swizzled(within + tap % 3)) * 16;
    // The weights' hi, and then their lo: both at once would not fit into the registers.
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const uint4 w = weights[((m * kSteps + step) * 2 + part) * 32];
        a[m][0] = w.x, a[m][1] = w.y, a[m][2] = w.z, a[m][3] = w.w;
      }
#pragma unroll
      for (int q = 0; q < kGroups; ++q) {
        uint32_t hi[4], lo[4];
        ldmatrix_x4(hi, from + q * 256);
        if (part == 0) ldmatrix_x4(lo, from + q * 256 + kToLo);
#pragma unroll
        for (int product = part; product < 2; ++product)
#pragma unroll
          for (int i = 0; i < 4; ++i) {  // four sums, so that none waits for the product before
            const uint32_t* b = (product == 0 ? lo : hi) + i / 2 * 2;
            mma_m16n8k16_f16(sum[i % 2][2 * q + i / 2], a[i % 2], b[0], b[1]);
          }
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

// Sums of values and of squares, in double.
struct Moments {
  double sum, squares;

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

// Of values value(0) .. value(K - 1), or only those whose bit is set in `keep`: deviations from their own mean in fp32,
// the mean's share in double, so that nothing cancels in fp32.
template <int K, bool kAll, typename F>
__device__ __forceinline__ Moments moments_of(F value, uint32_t keep) {
  // In eight strands, which are joined as a tree: rounding then has no bias for equal values.
  float strand[8] = {};
#pragma unroll
  for (int k = 0; k < K; ++k) strand[k % 8] += kAll || (keep >> k & 1) ? value(k) : 0.f;
#pragma unroll
  for (int step = 4; step > 0; step /= 2)
#pragma unroll
    for (int k = 0; k < step; ++k) strand[k] += strand[k + step];
  const int count = kAll ? K : max(__popc(keep), 1);
  const float mean = kAll ? strand[0] * (1.f / K) : strand[0] / count;
  float within = 0;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const float d = value(k) - mean;
    within += kAll || (keep >> k & 1) ? d * d : 0.f;
  }
  const double total = strand[0];
  return {total, total * total / count + within};
}

// sigmoid((conv + conv_bias + bias) * scale) is gate(conv * slope + base).
struct Gates {
  const float *conv_bias, *bias, *scale;

  __device__ float slope(int c) const { return -1.44269504088896341f * scale[c]; }
  __device__ float base(int c) const {
    return static_cast<float>((static_cast<double>(conv_bias[c]) + bias[c]) * scale[c] * -1.4426950408889634);
  }
};

struct Norm {
  const float *gamma, *beta;
  int groups;
  double eps;
};

struct Shared {
  Tile tile;
  float slope[kChannels], base[kChannels], gain[kChannels], offset[kChannels];
  Moments moments[kWarps * kChannels];  // [warp][channel]; later one for each thread
};

// Until `count` blocks have arrived. One thread calls it; the others wait at a barrier behind it.
__device__ __forceinline__ void wait_for(const unsigned* arrived, unsigned count) {
  while (*reinterpret_cast<const volatile unsigned*>(arrived) < count) __nanosleep(40);
  __threadfence();
}

// All blocks are resident. Teams of `members` blocks take images by turns; a block holds the sigmoid of kRows rows in
// registers until the team's moments are complete. Blocks of one team wait for nobody but each other (and in their
// first round for the team before them, so that teams convolve while others store), and each has one part of each of
// its team's images: so every wait ends.
__global__ void __launch_bounds__(kThreads, kResident)
convolve_and_normalise(const float* x, const float* weight, Geometry g, Gates gates, Norm norm, int teams, int members,
                       Moments* partial, unsigned* arrived, float* y) {
  extern __shared__ uint4 storage[];
  Shared& shared = *reinterpret_cast<Shared*>(storage);
  Tile& tile = shared.tile;
  const int warp = threadIdx.x / 32, side = warp % 2 * 128;
  const int team = blockIdx.x / members, member = blockIdx.x % members;
  const int r = warp / 2, row = member * kRows + r, shift = g.shift(row);
  const bool active = row < g.rows && side - shift < g.cols;
  if (threadIdx.x < kChannels) {
    shared.slope[threadIdx.x] = gates.slope(threadIdx.x);
    shared.base[threadIdx.x] = gates.base(threadIdx.x);
  }
  const bool weights_split = split_weights(tile, weight);
  if (team < g.images) fetch(tile, x, g, {team, member * kRows, 0});
  for (int image = team; image < g.images; image += teams) {
    const int lane = opaque(threadIdx.x % 32), col = opaque(side - shift);
    float undo;
    const bool tile_split = split_tile(tile, undo);
    const bool plain = !(weights_split && tile_split);
    if (image == team && team > 0) {
      if (threadIdx.x == 0) wait_for(arrived + team - 1, members);
      __syncthreads();
    }
    Sums sum;
    if (plain)
      multiply_plainly(x, weight, g, image, row, col, sum);
    else
      multiply(tile, 0, r, side + 4 - shift, sum);
    __syncthreads();
    if (image + teams < g.images) fetch(tile, x, g, {image + teams, member * kRows, 0});

    // This thread's four channels are lane / 4 + 8 i.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int c = lane / 4 + 8 * i;
      const float slope = shared.slope[c] * (plain ? 1.f : undo * tile.undo[c]), base = shared.base[c];
#pragma unroll
      for (int n = 0; n < 2 * kGroups; ++n) {
        float& s0 = sum[i / 2][n][2 * (i % 2)];
        float& s1 = sum[i / 2][n][2 * (i % 2) + 1];
        s0 = s0 * slope + base;
        s1 = s1 * slope + base;
        gate(s0, s1);
      }
      const auto value = [&](int k) { return sum[i / 2][k / 2][2 * (i % 2) + k % 2]; };
      Moments m;
      if (active && col >= 0 && col + 16 * kGroups <= g.cols) {
        m = moments_of<4 * kGroups, true>(value, 0);
      } else {
        uint32_t keep = 0;
#pragma unroll
        for (int k = 0; k < 4 * kGroups; ++k) {
          const int at = col + k / 4 * 16 + 4 * (lane % 4) + k % 4;
          keep |= (active && at >= 0 && at < g.cols ? 1u : 0u) << k;
        }
        m = moments_of<4 * kGroups, false>(value, keep);
      }
#pragma unroll
      for (int step = 2; step > 0; step /= 2)
        m.merge({__shfl_down_sync(0xffffffffu, m.sum, step), __shfl_down_sync(0xffffffffu, m.squares, step)});
      if (lane % 4 == 0) shared.moments[warp * kChannels + c] = m;
    }
    __syncthreads();
    const int per_group = kChannels / norm.groups;
    Moments* mine = partial + static_cast<int64_t>(image) * members * norm.groups;
    if (threadIdx.x < norm.groups) {
      Moments m = {0, 0};
#pragma unroll 1
      for (int w = 0; w < kWarps; ++w)
#pragma unroll 1
        for (int c = 0; c < per_group; ++c) m.merge(shared.moments[w * kChannels + threadIdx.x * per_group + c]);
      mine[member * norm.groups + threadIdx.x] = m;
      __threadfence();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      atomicAdd(arrived + image, 1u);
      wait_for(arrived + image, members);
    }
    __syncthreads();
    {
      // A thread's partial results are all of one group, since the groups divide the threads.
      Moments m = {0, 0};
#pragma unroll 2
      for (int i = threadIdx.x; i < members * norm.groups; i += kThreads) {
        const double2 part = __ldcg(reinterpret_cast<const double2*>(mine) + i);
        m.merge({part.x, part.y});
      }
      shared.moments[threadIdx.x] = m;
    }
    __syncthreads();
    if (threadIdx.x < kChannels) {
      Moments m = {0, 0};
#pragma unroll 1
      for (int i = threadIdx.x / per_group; i < kThreads; i += norm.groups) m.merge(shared.moments[i]);
      const double count = static_cast<double>(per_group) * g.plane(), mean = m.sum / count;
      const double gain = norm.gamma[threadIdx.x] / sqrt(m.squared_deviations(count) / count + norm.eps);
      shared.gain[threadIdx.x] = static_cast<float>(gain);
      shared.offset[threadIdx.x] = static_cast<float>(norm.beta[threadIdx.x] - mean * gain);
    }
    __syncthreads();
    if (!active) continue;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int c = lane / 4 + 8 * i;
      const float gain = shared.gain[c], offset = shared.offset[c];
      float* to = y + (static_cast<int64_t>(image) * kChannels + c) * g.plane() + static_cast<int64_t>(row) * g.cols;
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

at::Tensor conv_sigmoid_groupnorm(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor bias,
                                  at::Tensor scale, at::Tensor gamma, at::Tensor beta, int64_t groups,
                                  double eps) {
  at::NoGradGuard no_grad;
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  const int64_t channels = weight.size(0);
  Geometry g = geometry_of(x, channels);
  at::Tensor y = at::empty({g.images, channels, g.rows, g.cols}, x.options());
  if (y.numel() == 0) return y;
  weight = parameter(weight, x, channels * kIn * kTaps);
  conv_bias = parameter(conv_bias, x, channels);
  bias = parameter(bias, x, channels);
  scale = parameter(scale, x, channels);
  gamma = parameter(gamma, x, channels);
  beta = parameter(beta, x, channels);

  // A block of each team has its own rows; with too few blocks, or rows too wide for one, operators do it.
  const int bytes = sizeof(Shared);
  int members = (g.rows + kRows - 1) / kRows;
  const auto kernel = convolve_and_normalise;
  int fit = 0;
  C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  C10_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, kernel, kThreads, bytes));
  int teams = std::min(resident_blocks(std::min(fit, kResident)) / members, g.images);
  if (teams == 0 || g.tiles_x > 1) {
    const at::Tensor z = (at::conv2d(x, weight.view({channels, kIn, 3, 3}), conv_bias) + bias.view({-1, 1, 1})) *
                         scale.view({-1, 1, 1});
    return at::group_norm(at::sigmoid(z), groups, gamma, beta, eps);
  }
  at::Tensor partial = at::empty({int64_t{g.images} * members * groups, 2}, x.options().dtype(at::kDouble));
  at::Tensor arrived = at::empty({g.images}, x.options().dtype(at::kInt));
  Moments* moments = reinterpret_cast<Moments*>(partial.data_ptr<double>());
  unsigned* counts = reinterpret_cast<unsigned*>(arrived.data_ptr<int>());
  float* py = y.mutable_data_ptr<float>();
  const float* px = x.const_data_ptr<float>();
  const float* pw = weight.const_data_ptr<float>();
  Gates gates = {conv_bias.const_data_ptr<float>(), bias.const_data_ptr<float>(),
                       scale.const_data_ptr<float>()};
  Norm norm = {gamma.const_data_ptr<float>(), beta.const_data_ptr<float>(), static_cast<int>(groups), eps};
  C10_CUDA_CHECK(cudaMemsetAsync(counts, 0, g.images * sizeof(unsigned), stream));
  // A cooperative launch fails rather than leave a block for later, for which the others would wait.
  void* arguments[] = {&px, &pw, &g, &gates, &norm, &teams, &members, &moments, &counts, &py};
  C10_CUDA_CHECK(cudaLaunchCooperativeKernel(kernel, dim3(teams * members), dim3(kThreads), arguments, bytes, stream));
  return y;
}
"""


_extension = load_inline(
    name="kb_conv_sigmoid_groupnorm_onepass",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["conv_sigmoid_groupnorm"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, num_groups, bias_shape, scale_shape):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bias = nn.Parameter(torch.randn(bias_shape))
        self.scale = nn.Parameter(torch.randn(scale_shape))
        self.group_norm = nn.GroupNorm(num_groups, out_channels)

    def forward(self, x):
        if torch.is_grad_enabled() or not self._suits(x):
            return self._with_operators(x)
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

    def _suits(self, x):
        """Whether the kernels serve: fp32 on CUDA, 3x3 over 8 channels, 32 output channels."""
        out_channels, *window = self.conv.weight.shape
        single = self.bias.numel() == self.scale.numel() == out_channels
        suits = window == [8, 3, 3] and out_channels == 32 and single
        return suits and x.is_cuda and x.dtype == torch.float32

    def _with_operators(self, x):
        """The same function out of torch's operators: where autograd records, and for any other shape."""
        return self.group_norm(torch.sigmoid((self.conv(x) + self.bias) * self.scale))
