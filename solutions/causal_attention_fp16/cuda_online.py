"""Causal attention in fp16 on CUDA: the scores never leave the chip.

A block has 128 queries, 32 to a warp, in registers; keys and values come by in tiles of 64, fetched one tile ahead.
Both products run on fp16 tensor cores that add in fp32. Softmax goes along: when a row's largest score grows, what was
added so far is scaled down. Tiles that no query of the block may see are not read.

Sound because each row's sums are relative to its largest score so far, which cancels in the quotient at the end.
A hidden position weighs exactly 0, and 0 times an infinity or NaN is NaN: so a value that is not finite spoils its
column for all queries, even in tiles that are skipped. A small kernel notes such columns first.

The fused path has no backward: where autograd records, the plain operators run instead. So they do for heads of
another size than 64.
"""

import math

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = "at::Tensor causal_attention(at::Tensor queries, at::Tensor keys, at::Tensor values);"

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace {

constexpr int kSize = 64;      // of a head
constexpr int kQueries = 128;  // of a block
constexpr int kKeys = 64;      // of a tile
constexpr int kThreads = 128;
constexpr int kWarpRows = 32;
constexpr int kTileHalves = kKeys * kSize;
constexpr int kPieces = kSize / 8;  // 16-byte pieces of a row
constexpr unsigned kAll = 0xffffffffu;

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes from global to shared memory; zeros where `bytes` is 0.
__device__ __forceinline__ void copy_16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes));
}
__device__ __forceinline__ void copies_end() { asm volatile("cp.async.commit_group;\n" ::); }
template <int N>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(N));
}

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}
__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

// d (16 x 8, fp32) += a (16 x 16, fp16) b (16 x 8, fp16)
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ uint32_t paired(float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Where the 16-byte piece `piece` of a row lies: eight rows at one piece are in different banks.
__device__ __forceinline__ int place(int row, int piece) {
  return row * kSize + (piece ^ row % kPieces) * 8;
}

// Rows first .. first + kRows of a (positions, 64) matrix to shared memory, zeros beyond the end.
template <int kRows>
__device__ __forceinline__ void bring(uint16_t* to, const uint16_t* from, int first,
                                      int positions) {
#pragma unroll
  for (int i = threadIdx.x; i < kRows * kPieces; i += kThreads) {
    const int row = i / kPieces, piece = i % kPieces;
    const bool exists = first + row < positions;
    const int64_t at = static_cast<int64_t>(exists ? first + row : 0) * kSize + 8 * piece;
    copy_16(to + place(row, piece), from + at, exists ? 16 : 0);
  }
}

// For each tile of values the columns that hold an infinity or NaN, as bits. Block: (tile, head).
__global__ void __launch_bounds__(256)
note_nonfinite(const uint16_t* __restrict__ values, int positions, unsigned long long* columns) {
  __shared__ unsigned found[2];
  if (threadIdx.x < 2) found[threadIdx.x] = 0;
  __syncthreads();
  const uint16_t* head = values + static_cast<int64_t>(blockIdx.y) * positions * kSize;
  for (int i = threadIdx.x; i < kKeys * kPieces; i += 256) {
    const int row = blockIdx.x * kKeys + i / kPieces, piece = i % kPieces;
    if (row >= positions) continue;
    const uint4 got =
        *reinterpret_cast<const uint4*>(head + static_cast<int64_t>(row) * kSize + 8 * piece);
    const uint32_t words[4] = {got.x, got.y, got.z, got.w};
    unsigned bits = 0;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint32_t exponent = words[k / 2] >> 16 * (k % 2) & 0x7c00u;
      bits |= (exponent == 0x7c00u ? 1u : 0u) << k;
    }
    if (bits != 0) atomicOr(&found[piece / 4], bits << 8 * (piece % 4));
  }
  __syncthreads();
  if (threadIdx.x == 0)
    columns[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] =
        found[0] | static_cast<unsigned long long>(found[1]) << 32;
}

// Block: (tile of queries, last first, since it has most to do; head).
__global__ void __launch_bounds__(kThreads, 2)
attend(const uint16_t* __restrict__ queries, const uint16_t* __restrict__ keys,
       const uint16_t* __restrict__ values, const unsigned long long* __restrict__ nonfinite,
       int positions, float to_exponent, __half* __restrict__ out) {
  extern __shared__ __align__(128) uint16_t memory[];
  uint16_t* query_tile = memory;
  uint16_t* key_tiles = query_tile + kQueries * kSize;
  uint16_t* value_tiles = key_tiles + 2 * kTileHalves;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
  const int first_query = (gridDim.x - 1 - blockIdx.x) * kQueries;
  const int64_t offset = static_cast<int64_t>(blockIdx.y) * positions * kSize;
  queries += offset;
  keys += offset;
  values += offset;
  const int all_tiles = (positions + kKeys - 1) / kKeys;
  const int visible = (first_query + kQueries + kKeys - 1) / kKeys;
  const int tiles = visible < all_tiles ? visible : all_tiles;

  bring<kQueries>(query_tile, queries, first_query, positions);
  bring<kKeys>(key_tiles, keys, 0, positions);
  bring<kKeys>(value_tiles, values, 0, positions);
  copies_end();

  uint32_t q[2][4][4];  // [rows][16 columns][register]
  float result[2][8][4] = {};
  float largest[2][2], total[2][2];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      largest[m][h] = -INFINITY;
      total[m][h] = 0.f;
    }

  for (int tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) {
      const int buffer = (tile + 1) % 2;
      bring<kKeys>(key_tiles + buffer * kTileHalves, keys, (tile + 1) * kKeys, positions);
      bring<kKeys>(value_tiles + buffer * kTileHalves, values, (tile + 1) * kKeys, positions);
    }
    copies_end();
    copies_wait<1>();
    __syncthreads();
    if (tile == 0) {
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int row = warp * kWarpRows + 16 * m + lane % 16;
          load_matrices(q[m][c], query_tile + place(row, 2 * c + lane / 16));
        }
    }

    const uint16_t* key_tile = key_tiles + tile % 2 * kTileHalves;
    const uint16_t* value_tile = value_tiles + tile % 2 * kTileHalves;
    float scores[2][8][4] = {};
#pragma unroll
    for (int c = 0; c < 4; ++c)
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        uint32_t k[4];
        load_matrices(k, key_tile + place(8 * n + lane / 16 * 8 + lane % 8, 2 * c + lane / 8 % 2));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(scores[m][n], q[m][c], k[0], k[1]);
          multiply_add(scores[m][n + 1], q[m][c], k[2], k[3]);
        }
      }

    const int first_key = tile * kKeys, first_row = first_query + warp * kWarpRows + group;
    if (first_key + kKeys > first_query) {
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int key = first_key + 8 * n + 2 * member + i % 2;
            if (key > first_row + 16 * m + 8 * (i / 2)) scores[m][n][i] = -INFINITY;
          }
    }

#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float most = largest[m][h];
#pragma unroll
        for (int n = 0; n < 8; ++n)
          most = fmaxf(most, fmaxf(scores[m][n][2 * h], scores[m][n][2 * h + 1]));
        most = fmaxf(most, __shfl_xor_sync(kAll, most, 1));
        most = fmaxf(most, __shfl_xor_sync(kAll, most, 2));
        // Where all is -inf so far, nothing may be subtracted: -inf - -inf would be NaN.
        const float base = most == -INFINITY ? 0.f : most * to_exponent;
        const float keep = power_of_2(largest[m][h] * to_exponent - base);
        largest[m][h] = most;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 2 * h; i < 2 * h + 2; ++i) {
            scores[m][n][i] = power_of_2(scores[m][n][i] * to_exponent - base);
            sum += scores[m][n][i];
          }
        total[m][h] = total[m][h] * keep + sum;
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          result[m][n][2 * h] *= keep;
          result[m][n][2 * h + 1] *= keep;
        }
      }

#pragma unroll
    for (int c = 0; c < 4; ++c) {  // 16 keys
      uint32_t p[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        p[m][0] = paired(scores[m][2 * c][0], scores[m][2 * c][1]);
        p[m][1] = paired(scores[m][2 * c][2], scores[m][2 * c][3]);
        p[m][2] = paired(scores[m][2 * c + 1][0], scores[m][2 * c + 1][1]);
        p[m][3] = paired(scores[m][2 * c + 1][2], scores[m][2 * c + 1][3]);
      }
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        uint32_t v[4];
        load_transposed(v, value_tile + place(16 * c + lane % 16, n + lane / 16));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(result[m][n], p[m], v[0], v[1]);
          multiply_add(result[m][n + 1], p[m], v[2], v[3]);
        }
      }
    }
    __syncthreads();  // before the next copies go into this tile's place
  }

  unsigned spoilt[2] = {0, 0};
  for (int tile = tiles + lane; tile < all_tiles; tile += 32) {
    const unsigned long long bits = nonfinite[static_cast<int64_t>(blockIdx.y) * all_tiles + tile];
    spoilt[0] |= static_cast<unsigned>(bits);
    spoilt[1] |= static_cast<unsigned>(bits >> 32);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) spoilt[i] = __reduce_or_sync(kAll, spoilt[i]);

#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = total[m][h];
      sum += __shfl_xor_sync(kAll, sum, 1);
      sum += __shfl_xor_sync(kAll, sum, 2);
      const float share = 1.f / sum;
      const int row = first_query + warp * kWarpRows + 16 * m + 8 * h + group;
      if (row >= positions) continue;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const int column = 8 * n + 2 * member;
        const unsigned bits = spoilt[n / 4] >> column % 32;
        const float first = bits & 1u ? NAN : result[m][n][2 * h] * share;
        const float second = bits & 2u ? NAN : result[m][n][2 * h + 1] * share;
        __half* to = out + offset + static_cast<int64_t>(row) * kSize + column;
        *reinterpret_cast<__half2*>(to) = __floats2half2_rn(first, second);
      }
    }
}

void check(const at::Tensor& x, const at::Tensor& like) {
  TORCH_CHECK(x.dim() >= 2 && x.scalar_type() == at::kHalf && x.is_cuda() &&
                  x.device() == like.device() && x.sizes() == like.sizes() && x.size(-1) == kSize,
              "expected fp16 CUDA tensors of one shape with ", kSize, " columns");
}

at::Tensor aligned(const at::Tensor& x) {
  at::Tensor y = x.contiguous();
  return reinterpret_cast<uintptr_t>(y.const_data_ptr()) % 16 == 0 ? y : y.clone();
}

const uint16_t* bits(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}

}  // namespace

at::Tensor causal_attention(at::Tensor queries, at::Tensor keys, at::Tensor values) {
  at::NoGradGuard no_grad;
  check(queries, queries);
  check(keys, queries);
  check(values, queries);
  const c10::cuda::CUDAGuard guard(queries.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  queries = aligned(queries);
  keys = aligned(keys);
  values = aligned(values);
  at::Tensor out = at::empty_like(queries);
  if (out.numel() == 0) return out;
  const int64_t positions = queries.size(-2), heads = queries.numel() / (positions * kSize);
  TORCH_CHECK(positions < (int64_t{1} << 30) && heads < 65536, "too many positions or heads");
  const unsigned tiles = static_cast<unsigned>((positions + kKeys - 1) / kKeys);
  at::Tensor columns = at::empty({heads, tiles}, queries.options().dtype(at::kLong));
  auto* noted = reinterpret_cast<unsigned long long*>(columns.mutable_data_ptr<int64_t>());
  note_nonfinite<<<dim3(tiles, static_cast<unsigned>(heads)), 256, 0, stream>>>(
      bits(values), static_cast<int>(positions), noted);
  C10_CUDA_KERNEL_LAUNCH_CHECK();

  constexpr int kBytes = (kQueries * kSize + 4 * kTileHalves) * 2;
  C10_CUDA_CHECK(cudaFuncSetAttribute(attend, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const dim3 grid(static_cast<unsigned>((positions + kQueries - 1) / kQueries),
                  static_cast<unsigned>(heads));
  const float to_exponent = 1.4426950408889634f / 8;  // log2(e) / sqrt(64)
  attend<<<grid, kThreads, kBytes, stream>>>(bits(queries), bits(keys), bits(values), noted,
                                             static_cast<int>(positions), to_exponent,
                                             static_cast<__half*>(out.mutable_data_ptr()));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""


_extension = load_inline(
    name="kb_causal_attention_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["causal_attention"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def forward(self, queries, keys, values):
        if torch.is_grad_enabled() or queries.shape[-1] != 64 or queries.dtype != torch.float16:
            return self._by_operators(queries, keys, values)
        return _extension.causal_attention(queries, keys, values)

    def _by_operators(self, queries, keys, values):
        scores = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-2, -1)
        positions = torch.arange(scores.shape[-1], device=scores.device)
        later = positions > positions[:, None]
        return torch.softmax(scores.masked_fill(later, -math.inf), dim=-1) @ values
