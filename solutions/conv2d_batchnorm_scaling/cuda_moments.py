"""Conv2d, BatchNorm2d and a constant factor on CUDA: one convolution, since its statistics follow from its input's.

A sum over pixels of a convolution is a linear form of its weights, and one of its square a quadratic form: in the sums
of input pixels, and of products of two input pixels within a 3x3 window. These are gathered from the input alone, which
is an eighth of the output. Edge rows are summed apart, since not every tap sees them. Then one pass convolves and
writes the affine function of the sums: the large tensor is written once and never read.

Pixels are taken less a pivot near their channel's mean, products are summed on tensor cores over four rows at most, in
fp32 beyond, in double at the end. Where a quadratic form cancels by more than 2^10, or an input is infinite or NaN,
that channel's moments are taken from its convolution in plain fp32 instead; the device decides.

fp32 operands are split into two fp16 parts each, v * 2^k = hi + lo with 22 bits, k by the tile's largest magnitude
(for weights: by the channel's). Three products, hi*hi + hi*lo + lo*hi, leave an error of some 2^-22 of each operand,
as fp32 summation does; fp16's narrow range does not matter, since it is used from its upper end and what is below it
is smaller than 2^-39 of the largest. A tile with infinities, NaN or magnitudes beyond 2^40 is done in plain fp32.

All orders are fixed, so repeated calls agree bit for bit. Where autograd records, and for other shapes, torch's own
operators run.
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
constexpr int kPlainParts = 64;           // blocks that share a doubtful channel
constexpr double kMostCancelled = 1024;


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

__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
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

// ---- The moments of a convolution from those of its input -------------------------------------------------------
// A fragment holds 16 pixels by 8 channels, transposed: it serves as either factor of a product over pixels.
struct Pixels {
  uint32_t hi[2], lo[2];
};

constexpr int kBand = 16;                  // rows of a band: the last one of each pair of rows lies in it
constexpr int kBandRows = kBand + 2;
constexpr int kBandCols = kCols + 4;       // two columns more than there are outputs, in whole quads
constexpr int kPairs = 14;                 // accumulators of 16 x 8
constexpr int kEntries = kPairs * 4 * 32;  // of a set
constexpr int kSets = 5;                   // by the row: 0, 1, all others, last but one, last

struct Band {
  uint4 hi[kBandRows * kBandCols], lo[kBandRows * kBandCols];
  float raw[kIn * kBandRows * kBandCols];
  double sets[kSets][kEntries];
  float pivot[kIn];
  uint32_t most[kWarps];
};

// What stands in rows 0-7 and 8-15 of each accumulator: the row distance `dy` and column tap `tap` of the other
// factor, a row of ones (kOnes), or nothing; and the column tap `by` of the nearer factor, its columns.
constexpr int kOnes = 3, kNothing = 4;
struct Pair {
  signed char by, dy[2], tap[2];
};
__device__ constexpr Pair kPair[kPairs] = {
    {0, {1, 1}, {0, 1}}, {1, {1, 1}, {0, 1}}, {2, {1, 1}, {0, 1}},
    {0, {1, 2}, {2, 0}}, {1, {1, 2}, {2, 0}}, {2, {1, 2}, {2, 0}},
    {0, {2, 2}, {1, 2}}, {1, {2, 2}, {1, 2}}, {2, {2, 2}, {1, 2}},
    {1, {0, 0}, {0, 1}}, {2, {0, 0}, {0, 1}},
    {0, {0, 0}, {0, kOnes}}, {1, {0, 0}, {kOnes, kNothing}}, {2, {0, 0}, {2, kOnes}},
};
// Multiplied together, so that no product waits for the one before it: those that share a factor, and the rest.
constexpr int kGangs = 5;
__device__ constexpr signed char kGang[kGangs + 1] = {0, 3, 6, 9, 11, kPairs};

struct BandPlace {
  int image, row, col;

  __device__ BandPlace(const Geometry& g, int unit) {
    const int across = (g.cols + kCols - 1) / kCols, down = (g.height + kBand - 1) / kBand;
    image = unit / across / down;
    row = unit / across % down * kBand;
    col = unit % across * kCols;
  }
};

// Rows row - 2 .. row + kBand - 1 into band.raw. What lies outside the image is 0.
__device__ void fetch_band(Band& band, const float* x, const Geometry& g, const BandPlace& p) {
  constexpr int kQuads = kBandCols / 4;
  for (int i = threadIdx.x; i < kIn * kBandRows * kQuads; i += kThreads) {
    const int quad = i % kQuads, line = i / kQuads;
    const int y = p.row - 2 + line % kBandRows, col = p.col + 4 * quad;
    const bool within = y >= 0 && y < g.height;
    float* to = band.raw + line * kBandCols + 4 * quad;
    const float* from = x + ((int64_t{p.image} * kIn + line / kBandRows) * g.height + y) * int64_t{g.width} + col;
    if (g.vector_in && within && col < g.width) {
      cp_async_16(shared_address(to), from);
    } else {
      for (int j = 0; j < 4; ++j) to[j] = within && col + j < g.width ? from[j] : 0.f;
    }
  }
  cp_async_commit();
}

// After the fetch: pixels less their channel's pivot, split and scaled; 0 outside of the image. False where a value
// is infinite, NaN or out of range: then the moments are worth nothing.
__device__ bool split_band(Band& band, const Geometry& g, const BandPlace& p, float& undo) {
  cp_async_wait_all();
  __syncthreads();
  uint32_t most = 0, e;
  for (int i = threadIdx.x; i < kIn * kBandRows * kBandCols; i += kThreads)
    most = max(most, __float_as_uint(band.raw[i] - band.pivot[i / (kBandRows * kBandCols)]) & 0x7fffffffu);
  most = __reduce_max_sync(0xffffffffu, most);
  if (threadIdx.x % 32 == 0) band.most[threadIdx.x / 32] = most;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) most = max(most, band.most[w]);
  if (!sane(most, e)) return false;
  undo = undo_for(e);
  const float scale = scale_for(e);
  for (int i = threadIdx.x; i < kBandRows * kBandCols; i += kThreads) {
    const int y = p.row - 2 + i / kBandCols, col = p.col + i % kBandCols;
    const float kept = y >= 0 && y < g.height && col < g.width ? scale : 0.f;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      split((band.raw[2 * j * kBandRows * kBandCols + i] - band.pivot[2 * j]) * kept,
            (band.raw[(2 * j + 1) * kBandRows * kBandCols + i] - band.pivot[2 * j + 1]) * kept, hi[j], lo[j]);
    band.hi[i] = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    band.lo[i] = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  return true;
}

// Sixteen pixels from the one that `address` is lane 0's for. Pixels with a mask bit of 0 are 0.
__device__ __forceinline__ Pixels load_pixels(uint32_t address, const uint32_t (&mask)[2]) {
  uint32_t r[4];
  ldmatrix_x4_trans(r, address);
  return {{r[0] & mask[0], r[1] & mask[1]}, {r[2] & mask[0], r[3] & mask[1]}};
}

// Adds all warps' sums to a set, one warp after the other. Called by the whole block.
__device__ __forceinline__ void add_to_set(double* set, const float (&sums)[kPairs][4], float square, float undo) {
#pragma unroll 1
  for (int w = 0; w < kWarps; ++w) {
    if (threadIdx.x / 32 == w) {
#pragma unroll
      for (int n = 0; n < kPairs; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          set[(4 * n + e) * 32 + threadIdx.x % 32] += sums[n][e] * (kPair[n].tap[e / 2] == kOnes ? undo : square);
    }
    __syncthreads();
  }
}

// Sums over all pixels of products x_c(i, j + tap) * x_c'(i + dy, j + tap') for the pairs above, j below g.cols, and of
// x_c'(i + dy, j + tap') itself, by sets of the row i + dy. x is taken less a pivot, so that little cancels later.
__global__ void __launch_bounds__(kThreads, 1)
correlate(const float* x, Geometry g, int units, double* partial, float* pivots, int* doubts) {
  extern __shared__ uint4 storage[];
  Band& band = *reinterpret_cast<Band*>(storage);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  static_assert(kWarps == kIn && 16 * kWarps == kCols, "a warp for each channel, and for each 16 pixels");
  {
    // The mean of a channel's first row, or 0: any number near its mean will do.
    const float* line = x + int64_t{warp} * g.height * g.width;
    const int count = min(g.width, kCols);
    float total = 0;
    for (int i = lane; i < count; i += 32) total += line[i];
    for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
    total /= static_cast<float>(count);
    if (!(fabsf(total) < 1e30f)) total = 0;
    if (lane == 0) band.pivot[warp] = total;
    if (lane == 0 && blockIdx.x == 0) pivots[warp] = total;
  }
  for (int i = threadIdx.x; i < kSets * kEntries; i += kThreads) band.sets[0][i] = 0;

  bool doubt = false;
  float total[kPairs][4] = {};
  if (blockIdx.x < units) fetch_band(band, x, g, BandPlace(g, blockIdx.x));
  for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const BandPlace place(g, unit);
    float undo = 1;
    doubt |= !split_band(band, g, place, undo);
    __syncthreads();
    if (unit + gridDim.x < units) fetch_band(band, x, g, BandPlace(g, unit + gridDim.x));
    if (doubt) continue;

    // Columns beyond the last output are 0. Halves of a word are pixels 2 t and 2 t + 1 of eight.
    uint32_t mask[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int left = g.cols - (place.col + 16 * warp + 8 * i + 2 * (lane % 4));
      mask[i] = left > 1 ? 0xffffffffu : left == 1 ? 0xffffu : 0u;
    }
    uint32_t address = shared_address(lane < 16 ? band.hi : band.lo) + (16 * warp + lane % 16) * 16;
    const Pixels ones = {{0x3c003c00u, 0x3c003c00u}, {0, 0}}, nothing = {};
    Pixels before[2][3];  // [distance - 1][tap]
#pragma unroll
    for (int d = 0; d < 2; ++d)
#pragma unroll
      for (int tap = 0; tap < 3; ++tap)
        before[d][tap] = load_pixels(address + ((1 - d) * kBandCols + tap) * 16, mask);
    address += 2 * kBandCols * 16;
    float sum[kPairs][4] = {};
    const float square = undo * undo;
#pragma unroll 1
    for (int r = 0; r < kBand && place.row + r < g.height; ++r, address += kBandCols * 16) {
      const int row = place.row + r;
      if (place.col + 16 * warp < g.cols) {
        Pixels now[3];
#pragma unroll
        for (int tap = 0; tap < 3; ++tap) now[tap] = load_pixels(address + tap * 16, mask);
#pragma unroll
        for (int gang = 0; gang < kGangs; ++gang)
#pragma unroll
          for (int product = 0; product < 3; ++product)
#pragma unroll
            for (int n = kGang[gang]; n < kGang[gang + 1]; ++n) {
              uint32_t a[4];
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                const int dy = kPair[n].dy[half], tap = kPair[n].tap[half];
                const Pixels& p =
                    tap == kNothing ? nothing : tap == kOnes ? ones : dy == 0 ? now[tap] : before[dy - 1][tap];
                a[half] = product == 0 ? p.lo[0] : p.hi[0];
                a[half + 2] = product == 0 ? p.lo[1] : p.hi[1];
              }
              const Pixels& by = now[kPair[n].by];
              mma_m16n8k16_f16(sum[n], a, product == 1 ? by.lo[0] : by.hi[0], product == 1 ? by.lo[1] : by.hi[1]);
            }
#pragma unroll
        for (int tap = 0; tap < 3; ++tap) {
          before[1][tap] = before[0][tap];
          before[0][tap] = now[tap];
        }
      }
      // Edge rows have sets of their own. Others stay with the tensor cores for four rows at most: their sums are cut,
      // not rounded, so that long chains would err to one side.
      const int set = row == 0 ? 0 : row == 1 ? 1 : row == g.height - 1 ? 4 : row == g.height - 2 ? 3 : 2;
      const bool last = row + 1 == g.height - 2 || r == kBand - 1;
      if (set == 2 && !last && r % 4 != 3) continue;
      if (set != 2) add_to_set(band.sets[set], sum, square, undo);
#pragma unroll
      for (int n = 0; n < kPairs; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (set == 2) total[n][e] += sum[n][e] * (kPair[n].tap[e / 2] == kOnes ? undo : square);
          sum[n][e] = 0;
        }
    }
  }
  __syncthreads();
  add_to_set(band.sets[2], total, 1, 1);
  double* out = partial + static_cast<int64_t>(blockIdx.x) * kSets * kEntries;
  for (int i = threadIdx.x; i < kSets * kEntries; i += kThreads) out[i] = band.sets[0][i];
  if (threadIdx.x == 0) doubts[blockIdx.x] = doubt;
}

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

// y = conv * gain + offset.
struct Line {
  float gain, offset;
};

// Convolves units blockIdx.x, blockIdx.x + gridDim.x, and so on, for channels blockIdx.y * kChannels on, and
// writes the affine function of the sums.
__global__ void __launch_bounds__(kThreads, 2)
convolve(const float* x, const float* weight, Geometry g, int units, const Line* lines, float* y, int64_t* batches) {
  extern __shared__ uint4 storage[];
  Tile& tile = *reinterpret_cast<Tile*>(storage);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int half = warp % kHalves * 32, side = warp / kHalves % 2 * 64, first_row = warp / kHalves / 2;
  const int channel = blockIdx.y * kChannels;
  weight += static_cast<int64_t>(channel) * kIn * kTaps;
  const bool weights_split = split_weights(tile, weight);
  if (batches != nullptr && blockIdx.x + blockIdx.y + threadIdx.x == 0) *batches += 1;

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
        const int c = half + lane / 4 + 8 * i;  // of this thread's four
        const float unit_of_sums = plain ? 1.f : undo * tile.undo[c];
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

// Totals of `blocks` partial results, joined to those of the rows that the taps of window row 0, 1 and 2 see.
__global__ void __launch_bounds__(kThreads) join_sets(const double* partial, int blocks, double* joined) {
  __shared__ double shared[kSets][16][16];
  const int entry = blockIdx.x * 16 + threadIdx.x % 16, slice = threadIdx.x / 16;
  double sums[kSets] = {};
  for (int b = slice; b < blocks; b += 16)
    for (int s = 0; s < kSets; ++s) sums[s] += partial[(static_cast<int64_t>(b) * kSets + s) * kEntries + entry];
  for (int s = 0; s < kSets; ++s) shared[s][slice][threadIdx.x % 16] = sums[s];
  __syncthreads();
  if (threadIdx.x >= 16) return;
  for (int s = 0; s < kSets; ++s) {
    sums[s] = 0;
    for (int i = 0; i < 16; ++i) sums[s] += shared[s][i][threadIdx.x];
  }
  for (int by = 0; by < 3; ++by) joined[by * kEntries + entry] = sums[by] + sums[by + 1] + sums[by + 2];
}

// Sum over the block, valid in thread 0, in a fixed order.
__device__ double block_sum(double v) {
  __shared__ double shared[kWarps];
  for (int step = 16; step > 0; step /= 2) v += __shfl_down_sync(0xffffffffu, v, step);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = 0;
  for (int w = 0; w < kWarps; ++w) v += shared[w];
  return v;
}

// One block per channel: the mean and the squared deviations of its convolution are a linear and a quadratic form of
// its weights. Where that would cancel (an input whose neighbours are all alike, say), or where some value was out of
// range, the channel is left to `plain_moments`.
__global__ void __launch_bounds__(kThreads)
finish_channels(const double* joined, const float* pivots, const int* doubts, int blocks, const float* weight,
                double n, bool training, Norm norm, Line* lines, int* doubtful) {
  const int64_t channel = blockIdx.x;
  const float* w = weight + channel * kIn * kTaps;
  double mean = 0, squares = 0, largest = 0, base = 0;
  int doubt = 0;
  if (training) {
    for (int i = threadIdx.x; i < 3 * kEntries; i += kThreads) {
      const int row = i / kEntries, pair = i / 128 % kPairs, half = i / 64 % 2, c = i % 32 / 4;
      const int other = 2 * (i % 4) + i / 32 % 2, by = kPair[pair].by, tap = kPair[pair].tap[half];
      const int first = row - kPair[pair].dy[half];
      const double v = joined[i], w1 = w[other * kTaps + row * 3 + by];
      if (tap == kOnes) {
        if (c == 0) mean += w1 * v;  // all eight rows are alike
      } else if (tap != kNothing && first >= 0) {
        const double w0 = w[c * kTaps + first * 3 + tap];
        const bool self = first == row && tap == by;
        squares += (self ? 1 : 2) * w0 * w1 * v;
        if (self && c == other) largest += fabs(w1) * sqrt(v);
      }
    }
    for (int i = threadIdx.x; i < kIn * kTaps; i += kThreads)
      base += static_cast<double>(w[i]) * pivots[i / kTaps];
    for (int i = threadIdx.x; i < blocks; i += kThreads) doubt |= doubts[i];
    mean = block_sum(mean) / n;
    squares = block_sum(squares) - n * mean * mean;
    largest = block_sum(largest);
    base = block_sum(base);
    doubt = __syncthreads_or(doubt) || !(largest * largest <= kMostCancelled * squares);
  }
  if (threadIdx.x != 0) return;
  doubtful[channel] = doubt;
  if (!doubt) lines[channel] = finish(norm, channel, training, mean + base, squares, n);
}

// The moments of doubtful channels from their convolution in plain fp32: block (channel, part).
__global__ void __launch_bounds__(kThreads)
plain_moments(const float* x, const float* weight, Geometry g, const int* doubtful, Moments* partial) {
  const int64_t channel = blockIdx.x;
  if (!doubtful[channel]) return;
  const float* w = weight + channel * kIn * kTaps;
  const int64_t plane = g.plane(), count = g.images * plane, step = static_cast<int64_t>(gridDim.y) * kThreads;
  Moments m = {0, 0};
  for (int64_t i = blockIdx.y * kThreads + threadIdx.x; i < count; i += step) {
    const int64_t at = i % plane;
    const float* from =
        x + (i / plane * kIn * g.height + at / g.cols) * g.width + at % g.cols;
    float sum = 0;
    for (int c = 0; c < kIn; ++c, from += static_cast<int64_t>(g.height) * g.width)
      for (int tap = 0; tap < kTaps; ++tap) sum += from[tap / 3 * g.width + tap % 3] * w[c * kTaps + tap];
    m.sum += sum;
    m.squares += static_cast<double>(sum) * sum;
  }
  m.sum = block_sum(m.sum);
  m.squares = block_sum(m.squares);
  if (threadIdx.x == 0) partial[channel * gridDim.y + blockIdx.y] = m;
}

// One warp per channel.
__global__ void finish_doubtful(const Moments* partial, int parts, const int* doubtful, double n, Norm norm,
                                Line* lines) {
  const int64_t c = blockIdx.x;
  if (!doubtful[c]) return;
  const Moments m = gather(partial + c * parts, parts);
  if (threadIdx.x == 0) lines[c] = finish(norm, c, true, m.sum / n, m.squared_deviations(n), n);
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
  const dim3 grid(std::min(units, resident_blocks(2)), channels / kChannels);
  const int bands = g.images * ((g.height + kBand - 1) / kBand) * ((g.cols + kCols - 1) / kCols);
  const int blocks = std::min(bands, resident_blocks(1));
  at::Tensor sums = at::empty({(static_cast<int64_t>(blocks) * kSets + 3) * kEntries}, x.options().dtype(at::kDouble));
  at::Tensor plain = at::empty({channels * kPlainParts, 2}, x.options().dtype(at::kDouble));
  at::Tensor pivots = at::empty({kIn}, x.options());
  at::Tensor doubts = at::empty({blocks + channels}, x.options().dtype(at::kInt));
  at::Tensor lines = at::empty({channels, 2}, x.options());
  double* partial = sums.data_ptr<double>();
  double* joined = partial + static_cast<int64_t>(blocks) * kSets * kEntries;
  Moments* moments = reinterpret_cast<Moments*>(plain.data_ptr<double>());
  int* doubt = doubts.data_ptr<int>();
  int* doubtful = doubt + blocks;
  float* pivot = pivots.data_ptr<float>();
  Line* line = reinterpret_cast<Line*>(lines.data_ptr<float>());
  const float* px = x.const_data_ptr<float>();
  const float* pw = weight.const_data_ptr<float>();
  const Norm norm = {conv_bias.const_data_ptr<float>(), gamma.const_data_ptr<float>(),
                     beta.const_data_ptr<float>(), running_mean.mutable_data_ptr<float>(),
                     running_var.mutable_data_ptr<float>(), batches.const_data_ptr<int64_t>(),
                     momentum, eps, factor};
  const unsigned every = static_cast<unsigned>(channels);
  if (training) {
    C10_CUDA_CHECK(cudaFuncSetAttribute(correlate, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Band)));
    correlate<<<blocks, kThreads, sizeof(Band), stream>>>(px, g, bands, partial, pivot, doubt);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    join_sets<<<kEntries / 16, kThreads, 0, stream>>>(partial, blocks, joined);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  finish_channels<<<every, kThreads, 0, stream>>>(joined, pivot, doubt, blocks, pw, n, training, norm, line, doubtful);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  if (training) {
    plain_moments<<<dim3(every, kPlainParts), kThreads, 0, stream>>>(px, pw, g, doubtful, moments);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    finish_doubtful<<<every, 32, 0, stream>>>(moments, kPlainParts, doubtful, n, norm, line);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  C10_CUDA_CHECK(cudaFuncSetAttribute(convolve, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Tile)));
  convolve<<<grid, kThreads, sizeof(Tile), stream>>>(
      px, pw, g, units, line, y.mutable_data_ptr<float>(),
      training ? batches.mutable_data_ptr<int64_t>() : nullptr);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}
"""


_extension = load_inline(
    name="kb_conv_batchnorm_scale_moments",
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
        """Whether the kernels serve: fp32 on CUDA, 3x3 over 8 channels, a multiple of 64 output channels, no
        fewer than 4 rows (edge rows are told apart)."""
        out_channels, *window = self.conv.weight.shape
        suits = window == [8, 3, 3] and out_channels % 64 == 0 and x.dim() == 4 and x.shape[2] >= 4
        return suits and x.is_cuda and x.dtype == torch.float32

    def _with_operators(self, x):
        """The same function out of torch's operators: where autograd records, and for any other shape."""
        return self.bn(self.conv(x)) * self.scaling_factor
