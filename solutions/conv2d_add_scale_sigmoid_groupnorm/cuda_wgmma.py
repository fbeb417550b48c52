"""Conv2d, +bias, *scale, sigmoid and GroupNorm on CUDA: one convolution on wgmma, whose result waits in registers.

One block per multiprocessor, in teams. A team's blocks share one image, two rows each. In a block, one warpgroup reads
the input and splits it; the others ("holders") take images by turns: convolve two rows, keep the sigmoid of all 32
channels in registers, tell the team their moments, and when all have told theirs, normalise what they hold and store
it. So the convolution is done once, the large tensor is written once and never read, and while one holder waits,
another convolves and a third stores.

Two output rows of 32 channels are the 64 rows of wgmma's product, over the 12 taps of four input rows (of which each
uses 9); a pixel's eight channels in fp16 are 16 bytes, so a tap is an address. fp32 operands are split into two fp16
parts each, v * 2^k = hi + lo; three products, hi*hi + hi*lo + lo*hi, leave an error of some 2^-22 of each operand, as
fp32 summation does. Rows with infinities, NaN or magnitudes beyond 2^40 are done in plain fp32.

A sigmoid is held as its difference from the row's first, which keeps its moments exact where it hardly varies. Teams
sum in 64-bit integers, whose order does not matter, so repeated calls agree bit for bit; a sum's upper bits count who
has told, so one word says both what and whether.

Only for compute capability 9.0. Where autograd records, and for other shapes, torch's own operators run.
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

#include <cmath>
#include <cstdint>

namespace {

constexpr int kIn = 8, kTaps = 9;  // input channels: a pixel's are 16 bytes of fp16
constexpr int kChannels = 32;
constexpr int kRows = 2, kInRows = kRows + 2;
constexpr int kCols = 256;          // input columns at most; the products' columns
constexpr int kPixel = 16;          // bytes
constexpr int kPitch = kCols * kPixel, kPart = kInRows * kPitch;
constexpr int kTile = 2 * kPart + 128;  // the last columns' products read two pixels beyond the tile, and are not used
constexpr int kTiles = 2;
constexpr int kSteps = 6, kStep = 64 * 16 * 2;  // products of two taps: their number, the bytes of their weights
constexpr int kStagePitch = 520;    // floats of a channel's two rows; so that eight channels fall on different banks
constexpr int kHolders = 3;
constexpr int kGroup = 128;
constexpr int kThreads = (kHolders + 1) * kGroup;
constexpr int kSumBits = 48;  // of a team's word; above it 8 bits that count members, and 8 that count those with NaN
constexpr int kUsual = 10;  // inputs are scaled by 2^10 where that suits them

struct Shared {
  unsigned char weights[2][kSteps * kStep];  // [hi, lo][step][tap of two][row / 8][row % 8][input channel]
  unsigned char tiles[kTiles][kTile];        // [hi, lo][input row][pixel][input channel]
  float raw[2][kIn][kInRows][kCols];
  float stage[kChannels * kStagePitch];      // a holder's results on their way out
  double2 rows[kHolders][4][16];             // sum and sum of squares, of a row of a channel
  double2 norm[kHolders][kChannels];         // a channel's slope and offset
  // Between the producer and a holder: its tile is full, is empty again; from holder to holder: the stage is free.
  // The team's n-th image has phase n / kHolders of its holder's `full` and `empty`, and (n - 1) / kHolders of
  // `stage_free`, which the first image does not need. Parity tells phases apart, and nobody arrives twice in one: the
  // producer fills a holder's next tile only after it has awaited `empty` of the last, at which the holder arrives once
  // it has awaited `full`; and a holder gets the stage again only after it has given it to the next.
  uint64_t full[kHolders], empty[kHolders], stage_free[kHolders];
  float slope[kChannels], base[kChannels], undo[kChannels], gamma[kChannels], beta[kChannels];
  float unscale[kTiles];                     // 0: plain arithmetic has to do
  uint32_t most[2][4];
};

struct Geometry {
  int images, height, width, rows, cols, groups, per_group, teams, members;
  bool vector_in, bulk_out;
  double one;      // a sum of 1, in a team's words
  double average;  // of a group over an image, from its sum in a team's words
  float eps;

  __device__ int64_t plane() const { return static_cast<int64_t>(rows) * cols; }
};

struct Work {
  const float *x, *weight, *conv_bias, *bias, *scale, *gamma, *beta;
  unsigned long long* sums;  // [image][sum, sum of squares][group, with room for one per channel]
  float* y;
};

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void wait_at(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ int own_barrier(int group) { return 1 + group; }

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

// What threads wrote to shared memory is seen by wgmma and by bulk copies.
__device__ __forceinline__ void publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void cp_async_16(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ __forceinline__ void cp_async_wait_but_one() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

// For one of a converged warp's lanes, always the same.
__device__ __forceinline__ bool elected() {
  uint32_t p;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}\n" : "=r"(p));
  return p != 0;
}

__device__ __forceinline__ void bulk_store(float* to, uint32_t from, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
__device__ __forceinline__ void bulk_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void bulk_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

__device__ __forceinline__ unsigned long long load_sum(const unsigned long long* p) {
  unsigned long long v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}

// d (+)= weights times pixels: 64 x 16 by 16 x 128, fp16 with fp32 sums.
__device__ __forceinline__ void two_taps(float* d, uint64_t weights, uint64_t pixels, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%SUMS%}, %64, %65, p, 1, 1, 0, 0;\n}\n"
      : %OUTPUTS%
      : "l"(weights), "l"(pixels), "r"(add));
}
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }


// Eight rows of 16 bytes each, without swizzle: the next eight of the product's rows or columns are 128 bytes on, the
// second tap is `to_second` bytes on. Addresses count 16 bytes.
__device__ __forceinline__ uint64_t matrices(uint32_t address, int to_second) {
  const uint32_t near = (address & 0x3ffff) / 16 | static_cast<uint32_t>(to_second / 16) << 16;
  return static_cast<uint64_t>(128 / 16) << 32 | near;
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

// 1 + 2^z. z is cut at 60, so that the product of two is finite: then 2^-60 stands for something smaller, and beside an
// eps of 1e-5 neither counts. NaN stays NaN.
__device__ __forceinline__ float denominator(float z) { return 1.f + exp2_approx(z > 60.f ? 60.f : z); }

// 1 / (1 + 2^z) - shift of two numbers with one reciprocal.
__device__ __forceinline__ void gate(float& z0, float& z1, float shift) {
  const float d0 = denominator(z0), d1 = denominator(z1), r = reciprocal_approx(d0 * d1);
  z0 = fmaf(r, d1, -shift);
  z1 = fmaf(r, d0, -shift);
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

// Splits the weights, each channel with a scale of its own. Row 32 r + c of the product is channel c of output row r,
// whose first tap row is input row r. False where a channel is out of range.
__device__ bool split_weights(Shared& shared, const float* weight) {
  int bad = 0;
  for (int c = threadIdx.x / 32; c < kChannels; c += kThreads / 32) {
    uint32_t most = 0, e;
    for (int k = threadIdx.x % 32; k < kIn * kTaps; k += 32)
      most = max(most, __float_as_uint(weight[c * kIn * kTaps + k]) & 0x7fffffffu);
    most = __reduce_max_sync(0xffffffffu, most);
    bad |= !sane(most, e);
    if (threadIdx.x % 32 == 0) shared.undo[c] = undo_for(e);
  }
  if (__syncthreads_or(bad)) return false;
  for (int i = threadIdx.x; i < kSteps * 2 * 64 * kIn / 2; i += kThreads) {
    const int in = i % (kIn / 2) * 2, row = i / (kIn / 2) % 64;
    const int tap = i / (kIn / 2) / 64 % 2, step = i / (kIn / 2) / 128;
    const int c = row % kChannels, col = step < 4 ? tap : 2;
    const int y = (step < 4 ? step : 2 * (step - 4) + tap) - row / kChannels;
    const float factor = y >= 0 && y < 3 ? 1.f / shared.undo[c] : 0.f;  // powers of two
    const float* w = weight + (c * kIn + in) * kTaps + (y >= 0 && y < 3 ? y * 3 + col : 0);
    uint32_t hi, lo;
    split(w[0] * factor, w[kTaps] * factor, hi, lo);
    const int at = step * kStep + tap * (kStep / 2) + row * kPixel + in * 2;
    *reinterpret_cast<uint32_t*>(shared.weights[0] + at) = hi;
    *reinterpret_cast<uint32_t*>(shared.weights[1] + at) = lo;
  }
  return true;
}

// The producer's threads each have quads of pixels, all channels, which no other thread of it touches in shared.raw.
constexpr int kQuads = kInRows * kCols / 4 / kGroup;

// Begins to copy an image's four rows. Beyond the image they are 0.
__device__ __forceinline__ void fetch(Shared& shared, const Work& w, const Geometry& g, int image, int first_row,
                                      int buffer) {
#pragma unroll 1
  for (int k = 0; k < kQuads; ++k) {
    const int quad = threadIdx.x % kGroup + k * kGroup, row = quad / (kCols / 4), col = quad % (kCols / 4) * 4;
    const int y = first_row + row;
    if (col >= g.width) continue;
    const float* from = w.x + (int64_t{image} * kIn * g.height + y) * g.width + col;
    float* to = &shared.raw[buffer][0][row][col];
    if (g.vector_in && y < g.height) {
#pragma unroll
      for (int c = 0; c < kIn; ++c)
        cp_async_16(shared_address(to) + c * kInRows * kCols * 4, from + c * int64_t{g.height} * g.width);
    } else {
#pragma unroll 1
      for (int i = 0; i < kIn * 4; ++i) {
        const int c = i / 4, j = i % 4;
        const bool within = y < g.height && col + j < g.width;
        to[c * kInRows * kCols + j] = within ? from[c * int64_t{g.height} * g.width + j] : 0.f;
      }
    }
  }
}

// shared.raw to the tile, scaled. Returns the largest magnitude's bits.
__device__ __forceinline__ uint32_t convert(const Shared& shared, const Geometry& g, int buffer, unsigned char* tile,
                                            float factor) {
  const int thread = threadIdx.x % kGroup;
  uint32_t most = 0;
#pragma unroll 1
  for (int k = 0; k < kQuads; ++k) {
    const int quad = thread + k * kGroup, row = quad / (kCols / 4), col = quad % (kCols / 4) * 4;
    if (col >= g.width) continue;
    const float* from = &shared.raw[buffer][0][row][0];
#pragma unroll 2
    for (int p = 0; p < 4; ++p) {
      const int u = col + ((p + thread / 2 + thread / 8) & 3);  // neither loads nor stores meet in a bank
      uint32_t hi[4], lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float v0 = from[2 * j * kInRows * kCols + u], v1 = from[(2 * j + 1) * kInRows * kCols + u];
        most = max(most, max(__float_as_uint(v0) & 0x7fffffffu, __float_as_uint(v1) & 0x7fffffffu));
        split(v0 * factor, v1 * factor, hi[j], lo[j]);
      }
      unsigned char* to = tile + row * kPitch + u * kPixel;
      *reinterpret_cast<uint4*>(to) = make_uint4(hi[0], hi[1], hi[2], hi[3]);
      *reinterpret_cast<uint4*>(to + kPart) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    }
  }
  return most;
}

// Keeps the tiles filled.
__device__ __forceinline__ void produce(Shared& shared, const Work& w, const Geometry& g, int team, int member) {
  const int first_row = member * kRows, count = (g.images - team + g.teams - 1) / g.teams;
  const int warp = threadIdx.x % kGroup / 32;
#pragma unroll 1
  for (int n = 0; n < 2; ++n) {
    if (n < count) fetch(shared, w, g, team + n * g.teams, first_row, n);
    cp_async_commit();
  }
#pragma unroll 1
  for (int n = 0; n < count; ++n) {
    unsigned char* tile = shared.tiles[n % kTiles];
    cp_async_wait_but_one();
    if (n >= kTiles) await(shared.empty[(n - kTiles) % kHolders], (n - kTiles) / kHolders);
    const uint32_t mine = __reduce_max_sync(
        0xffffffffu, convert(shared, g, n % 2, tile, __uint_as_float((127 + kUsual) << 23)));
    if (threadIdx.x % 32 == 0) shared.most[n % 2][warp] = mine;
    wait_at(own_barrier(kHolders), kGroup);
    uint32_t most = 0, e;
#pragma unroll
    for (int i = 0; i < 4; ++i) most = max(most, shared.most[n % 2][i]);
    float unscale = __uint_as_float((127 - kUsual) << 23);
    if (!sane(most, e)) {
      unscale = 0.f;
    } else if (most != 0 && (e < 127 - 6 || e > 127 + 4)) {
      unscale = undo_for(e);
      convert(shared, g, n % 2, tile, scale_for(e));
    }
    if (threadIdx.x % kGroup == 0) shared.unscale[n % kTiles] = unscale;
    publish();
    arrive_at(shared.full[n % kHolders]);
    if (n + 2 < count) fetch(shared, w, g, team + (n + 2) * g.teams, first_row, n % 2);
    cp_async_commit();
  }
}

// Two rows of all channels, three products of the parts, the small ones first; lo * lo is below the last bit. The left
// half of the columns comes first, so that its sigmoids need not wait for the right.
__device__ __forceinline__ void begin_convolution(float (&d)[128], uint32_t weights, uint32_t tile) {
  begin_products();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const uint32_t a = weights + (k == 0 ? kSteps * kStep : 0), b = tile + (k == 1 ? kPart : 0) + half * (kPitch / 2);
#pragma unroll
      for (int s = 0; s < kSteps; ++s)
        two_taps(d + 64 * half, matrices(a + s * kStep, kStep / 2),
                 s < 4 ? matrices(b + s * kPitch, kPixel) : matrices(b + (s - 4) * 2 * kPitch + 2 * kPixel, kPitch),
                 k + s > 0);
    }
    commit_products();
  }
}
// Waits for the left half of the columns, or for the right as well; what reads the sums stays behind.
__device__ __forceinline__ void await_left(float (&d)[128]) {
  asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
#pragma unroll
  for (int i = 0; i < 64; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
__device__ __forceinline__ void await_right(float (&d)[128]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int i = 64; i < 128; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// The same sums in plain fp32, for rows with infinities, NaN or magnitudes out of all proportion.
__device__ __forceinline__ void convolve_plainly(float (&d)[128], const Work& w, const Geometry& g, int image, int row,
                                                 int channel) {
  const int pixel = threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < 128; ++i) d[i] = 0.f;
  const float* pixels = w.x + int64_t{image} * kIn * g.height * g.width;
#pragma unroll 1
  for (int k = 0; k < kIn * kTaps; ++k) {
    const int y = min(row + k % kTaps / 3, g.height - 1);
    const float* line = pixels + (k / kTaps * int64_t{g.height} + y) * g.width;
    const float w0 = w.weight[channel * kIn * kTaps + k], w1 = w.weight[(channel + 8) * kIn * kTaps + k];
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      const float v = line[min(pixel + i / 2 * 8 + i % 2 + k % 3, g.width - 1)];
      d[i / 2 * 4 + i % 2] += v * w0;
      d[i / 2 * 4 + i % 2 + 2] += v * w1;
    }
  }
}

// Sigmoids of 64 columns, less their channel's shift, and their sums; columns beyond the last do not count.
template <bool kAll>
__device__ __forceinline__ void gate_columns(float (&d)[128], int first, int left, const float (&slope)[2],
                                             const float (&base)[2], const float (&shift)[2], float (&sum)[2],
                                             float (&squares)[2]) {
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float& v0 = d[(first + j) * 4 + 2 * h];
      float& v1 = d[(first + j) * 4 + 2 * h + 1];
      v0 = fmaf(v0, slope[h], base[h]);
      v1 = fmaf(v1, slope[h], base[h]);
      gate(v0, v1, shift[h]);
      if (!kAll) {
        v0 = 8 * j < left ? v0 : 0.f;
        v1 = 8 * j + 1 < left ? v1 : 0.f;
      }
      sum[h] += v0;
      squares[h] = fmaf(v0, v0, squares[h]);
      sum[h] += v1;
      squares[h] = fmaf(v1, v1, squares[h]);
    }
}

__device__ __forceinline__ double2 add(double2 a, double2 b) { return make_double2(a.x + b.x, a.y + b.y); }
__device__ __forceinline__ double2 add_lanes(double2 a, int step) {
  return add(a, make_double2(__shfl_xor_sync(0xffffffffu, a.x, step), __shfl_xor_sync(0xffffffffu, a.y, step)));
}

// What a member adds to a word: that it has told, and its sum, or that this is NaN. Sums are at least 0 but for
// rounding.
__device__ __forceinline__ unsigned long long told(double sum, double one) {
  if (!(sum < 1e9)) return 257ull << kSumBits;
  return (1ull << kSumBits) + static_cast<unsigned long long>(llrint(fmax(sum, 0.) * one));
}

// One warp, whose lane c has channel c: tells the team the moments of this block's rows, waits until all members have
// told theirs, and leaves in `norm` that y = sigmoid * slope + offset.
__device__ __forceinline__ void agree(const Shared& shared, const double2 (&rows)[4][16], double2 (&norm)[kChannels],
                                      const Geometry& g, bool both, unsigned long long* sums) {
  const int c = threadIdx.x % 32;
  double2 m = rows[c / 16][c % 16];
  if (both) m = add(m, rows[2 + c / 16][c % 16]);
#pragma unroll
  for (int step = kChannels / 2; step > 0; step /= 2)
    if (step < g.per_group) m = add_lanes(m, step);
  sums += c / g.per_group;
  if (c % g.per_group == 0) {
    atomicAdd(sums, told(m.x, g.one));
    atomicAdd(sums + kChannels, told(m.y, g.one));
  }
  unsigned long long sum, squares;
  for (;;) {
    sum = load_sum(sums);
    squares = load_sum(sums + kChannels);
    const unsigned count = sum >> kSumBits & 255, count_squares = squares >> kSumBits & 255;
    if (__all_sync(0xffffffffu, count == g.members && count_squares == g.members)) break;
    __nanosleep(20);
  }
  const unsigned long long value = (1ull << kSumBits) - 1;
  const double mean = static_cast<double>(static_cast<long long>(sum & value)) * g.average;
  double variance = static_cast<double>(static_cast<long long>(squares & value)) * g.average - mean * mean;
  variance = (variance < 0 ? 0 : variance) + g.eps;
  double root = rsqrtf(static_cast<float>(variance));
  root *= 1.5 - 0.5 * variance * root * root;  // a step of Newton's
  if ((sum | squares) >> (kSumBits + 8)) root = __longlong_as_double(0x7ff8ll << 48);
  const double slope = root * shared.gamma[c];
  norm[c] = make_double2(slope, shared.beta[c] - mean * slope);
}

// Holder h has every kHolders-th image of its team, from the h-th on.
__device__ __forceinline__ void hold(Shared& shared, const Work& w, const Geometry& g, int team, int member,
                                     bool weights_split) {
  const int holder = __shfl_sync(0xffffffffu, threadIdx.x / kGroup, 0);  // so that the compiler knows it uniform
  const int warp = threadIdx.x % kGroup / 32, lane = threadIdx.x % 32;
  const int count = (g.images - team + g.teams - 1) / g.teams;
  const int row = member * kRows + warp / 2, channel = warp % 2 * 16 + lane / 4;
  const bool both = member * kRows + 1 < g.rows;
  bool staged = false;
  float d[128];
#pragma unroll 1
  for (int n = holder; n < count; n += kHolders) {
    const int image = team + n * g.teams;
    await(shared.full[holder], n / kHolders);
    const float unscale = shared.unscale[n % kTiles];
    const bool plain = !weights_split || unscale == 0;
    // The next holder gets the stage when the copies from it have been read: by now, or while this one convolves.
    const auto give_stage = [&] {
      if (!staged) return;
      bulk_wait_read();
      arrive_at(shared.stage_free[(holder + 1) % kHolders]);
    };
    // d[4 j + 2 h + i] is channel + 8 h at column 8 j + 2 (lane % 4) + i.
    float shift[2];
    {
      float slope[2], base[2], sum[2] = {}, squares[2] = {};
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int c = channel + 8 * h;
        slope[h] = shared.slope[c] * (plain ? 1.f : unscale * shared.undo[c]);
        base[h] = shared.base[c];
      }
      const auto gate_half = [&](int half) {
        if (half == 0) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const float own = reciprocal_approx(denominator(fmaf(d[2 * h], slope[h], base[h])));
            shift[h] = __shfl_sync(0xffffffffu, own, lane / 4 * 4);
          }
        }
#pragma unroll
        for (int j = 16 * half; j < 16 * half + 16; j += 8) {
          if (8 * j + 64 <= g.cols)
            gate_columns<true>(d, j, 0, slope, base, shift, sum, squares);
          else if (8 * j < g.cols)
            gate_columns<false>(d, j, g.cols - 8 * j - lane % 4 * 2, slope, base, shift, sum, squares);
        }
      };
      if (plain) {
        give_stage();
        convolve_plainly(d, w, g, image, row, channel);
        if (n + kTiles < count) arrive_at(shared.empty[holder]);
        gate_half(0);
        gate_half(1);
      } else {
        begin_convolution(d, shared_address(shared.weights), shared_address(shared.tiles[n % kTiles]));
        give_stage();
        await_left(d);
        gate_half(0);
        await_right(d);
        if (n + kTiles < count) arrive_at(shared.empty[holder]);
        gate_half(1);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int step = 1; step < 4; step *= 2) {
          sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], step);
          squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], step);
        }
        if (lane % 4 == 0) {
          const double s = shift[h], n = g.cols;
          shared.rows[holder][warp][lane / 4 + 8 * h] =
              make_double2(n * s + sum[h], s * (n * s + 2 * static_cast<double>(sum[h])) + squares[h]);
        }
      }
    }
    wait_at(own_barrier(holder), kGroup);
    if (warp == 0)
      agree(shared, shared.rows[holder], shared.norm[holder], g, both, w.sums + int64_t{image} * 2 * kChannels);
    wait_at(own_barrier(holder), kGroup);
    float gain[2], offset[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const double2 norm = shared.norm[holder][channel + 8 * h];
      gain[h] = static_cast<float>(norm.x);
      offset[h] = static_cast<float>(shift[h] * norm.x + norm.y);
    }

    if (n > 0) await(shared.stage_free[holder], (n - 1) / kHolders);
    if (row < g.rows) {
      float* to = shared.stage + channel * kStagePitch + warp / 2 * g.cols + lane % 4 * 2;
      const int left = g.cols - lane % 4 * 2;
      if (g.cols % 2 == 0) {
#pragma unroll
        for (int i = 0; i < 64; ++i) {
          const int j = i / 2, h = i % 2;
          if (8 * j < left)
            *reinterpret_cast<float2*>(to + 8 * h * kStagePitch + 8 * j) =
                make_float2(fmaf(d[2 * i], gain[h], offset[h]), fmaf(d[2 * i + 1], gain[h], offset[h]));
        }
      } else {
#pragma unroll
        for (int i = 0; i < 128; ++i) {
          const int j = i / 4, h = i / 2 % 2;
          if (8 * j + i % 2 < left) to[8 * h * kStagePitch + 8 * j + i % 2] = fmaf(d[i], gain[h], offset[h]);
        }
      }
    }
    publish();
    wait_at(own_barrier(holder), kGroup);
    const int size = (both ? 2 : 1) * g.cols;
    const int64_t first_row = static_cast<int64_t>(member * kRows) * g.cols;
    float* to = w.y + static_cast<int64_t>(image) * kChannels * g.plane() + first_row;
    if (g.bulk_out) {
      // A lane for all of a warp's, which the compiler then issues without a look at each lane's addresses.
      const int first = __shfl_sync(0xffffffffu, warp, 0) * (kChannels / 4);
      if (elected()) {
        float* out = to + first * g.plane();
        const uint32_t from = shared_address(shared.stage) + first * kStagePitch * 4;
#pragma unroll
        for (int c = 0; c < kChannels / 4; ++c) bulk_store(out + c * g.plane(), from + c * kStagePitch * 4, size * 4);
        bulk_commit();
      }
    } else {
#pragma unroll 1
      for (int c = warp; c < kChannels; c += kGroup / 32)
#pragma unroll 1
        for (int i = lane; i < size; i += 32) to[c * g.plane() + i] = shared.stage[c * kStagePitch + i];
    }
    staged = n + 1 < count;
  }
  if (staged) {
    bulk_wait_read();
    arrive_at(shared.stage_free[(holder + 1) % kHolders]);
  }
  bulk_wait();
}

// All blocks are resident, one on each multiprocessor. Members of one team wait for nobody but each other, and each has
// one part of each of its team's images, in the same order: so every wait ends.
__global__ void __launch_bounds__(kThreads, 1) everything(const Work w, const Geometry g) {
  extern __shared__ __align__(128) unsigned char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const int team = blockIdx.x / g.members, member = blockIdx.x % g.members;
  if (threadIdx.x == 0) {
    for (int h = 0; h < kHolders; ++h) {
      set_up(shared.full[h], kGroup);
      set_up(shared.empty[h], kGroup);
      set_up(shared.stage_free[h], kGroup);
    }
  }
  if (threadIdx.x < kChannels) {
    const int c = threadIdx.x;
    // sigmoid((conv + conv_bias + bias) * scale) is 1 / (1 + 2^(conv * slope + base)).
    shared.slope[c] = -1.44269504088896341f * w.scale[c];
    shared.base[c] =
        static_cast<float>((static_cast<double>(w.conv_bias[c]) + w.bias[c]) * w.scale[c] * -1.4426950408889634);
    shared.gamma[c] = w.gamma[c];
    shared.beta[c] = w.beta[c];
  }
  const bool weights_split = split_weights(shared, w.weight);
  publish();
  __syncthreads();
  if (threadIdx.x / kGroup == kHolders) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
    produce(shared, w, g, team, member);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
    hold(shared, w, g, team, member, weights_split);
  }
}

// A contiguous vector of parameters, on x's device and in fp32, as the kernel reads it.
at::Tensor parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.device() == x.device() && p.numel() == n,
              "expected ", n, " fp32 parameters on ", x.device());
  return p.contiguous();
}

}  // namespace

at::Tensor conv_sigmoid_groupnorm(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor bias,
                                  at::Tensor scale, at::Tensor gamma, at::Tensor beta, int64_t groups,
                                  double eps) {
  at::NoGradGuard no_grad;
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == at::kFloat && x.is_cuda() && x.size(1) == kIn,
              "expected a 4-d fp32 CUDA tensor of ", kIn, " channels");
  TORCH_CHECK(x.size(2) > 2 && x.size(3) > 2, "the input is smaller than the kernel");
  TORCH_CHECK(groups > 0 && kChannels % groups == 0, "expected equal groups");
  x = x.contiguous();
  weight = parameter(weight, x, kChannels * kIn * kTaps);
  conv_bias = parameter(conv_bias, x, kChannels);
  bias = parameter(bias, x, kChannels);
  scale = parameter(scale, x, kChannels);
  gamma = parameter(gamma, x, kChannels);
  beta = parameter(beta, x, kChannels);

  Geometry g;
  g.images = static_cast<int>(x.size(0));
  g.height = static_cast<int>(x.size(2));
  g.width = static_cast<int>(x.size(3));
  g.rows = g.height - 2;
  g.cols = g.width - 2;
  g.groups = static_cast<int>(groups);
  g.per_group = kChannels / g.groups;
  g.members = (g.rows + kRows - 1) / kRows;
  at::Tensor y = at::empty({g.images, kChannels, g.rows, g.cols}, x.options());
  if (y.numel() == 0) return y;
  int processors = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, x.get_device()));
  g.teams = std::min(processors / g.members, g.images);
  // A block of each team has its own rows; with too few blocks, or rows too wide for one, operators do it.
  if (g.teams == 0 || g.members > 255 || g.width > kCols) {
    const at::Tensor z =
        (at::conv2d(x, weight.view({kChannels, kIn, 3, 3}), conv_bias) + bias.view({-1, 1, 1})) *
        scale.view({-1, 1, 1});
    return at::group_norm(at::sigmoid(z), groups, gamma, beta, eps);
  }
  const int64_t plane = static_cast<int64_t>(g.rows) * g.cols;
  g.vector_in = g.width % 4 == 0 && reinterpret_cast<uintptr_t>(x.const_data_ptr<float>()) % 16 == 0;
  g.bulk_out = plane % 4 == 0 && g.cols % 2 == 0;  // then an odd number of rows has a multiple of 4 columns
  const double count = static_cast<double>(plane) * g.per_group;
  int bits = 0;  // of a word that the largest sum's whole part needs, with something for rounding
  while (std::ldexp(1.0, bits) <= count * 1.001 + 1) ++bits;
  g.one = std::ldexp(1.0, kSumBits - bits);
  g.average = 1 / (count * g.one);
  g.eps = static_cast<float>(eps);

  at::Tensor sums = at::empty({int64_t{g.images} * 2 * kChannels}, x.options().dtype(at::kLong));
  C10_CUDA_CHECK(cudaMemsetAsync(sums.data_ptr<int64_t>(), 0, sums.numel() * sizeof(int64_t), stream));
  Work w = {x.const_data_ptr<float>(),     weight.const_data_ptr<float>(), conv_bias.const_data_ptr<float>(),
            bias.const_data_ptr<float>(),  scale.const_data_ptr<float>(),  gamma.const_data_ptr<float>(),
            beta.const_data_ptr<float>(),  reinterpret_cast<unsigned long long*>(sums.data_ptr<int64_t>()),
            y.mutable_data_ptr<float>()};
  const int bytes = sizeof(Shared);
  const auto kernel = everything;
  C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  // A cooperative launch fails rather than leave a block for later, for which the others would wait.
  void* arguments[] = {&w, &g};
  C10_CUDA_CHECK(
      cudaLaunchCooperativeKernel(kernel, dim3(g.teams * g.members), dim3(kThreads), arguments, bytes, stream));
  return y;
}
""".replace("%SUMS%", ", ".join(f"%{i}" for i in range(64))).replace(
    "%OUTPUTS%", ", ".join(f'"+f"(d[{i}])' for i in range(64))
)


_extension = load_inline(
    name="kb_conv_sigmoid_groupnorm_wgmma",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["conv_sigmoid_groupnorm"],
    extra_cuda_cflags=["-O3", "-gencode=arch=compute_90a,code=sm_90a"],
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
        """Whether the kernel serves: fp32 on a Hopper GPU, 3x3 over 8 channels, 32 output channels."""
        out_channels, *window = self.conv.weight.shape
        single = self.bias.numel() == self.scale.numel() == out_channels
        suits = window == [8, 3, 3] and out_channels == 32 and single and x.is_cuda and x.dtype == torch.float32
        return suits and torch.cuda.get_device_capability(x.device) == (9, 0)

    def _with_operators(self, x):
        """The same function out of torch's operators: where autograd records, and for any other shape."""
        return self.group_norm(torch.sigmoid((self.conv(x) + self.bias) * self.scale))
