"""A linear layer with 8-bit floating weights on CUDA: they are read once, at 8 bits, and become fp16 in registers.

A block computes 128 output features for up to 32 tokens. Asynchronous copies bring weights and tokens to shared memory
four stages deep; sixteen warps, four along the features and four along the sum, feed fp16 tensor cores that add in
fp32. What a warp adds in one stage lies within one block of weights: it is multiplied by the block's scale in fp32 and
added to the whole. The four partial sums meet in shared memory in a fixed order.

The order of the terms of a sum is free, so a thread takes 16 neighbouring weights of a row and the same 16 of a token:
its share of four matrix products without any shuffling.

Sound because an e4m3 value is an fp16 value, and products of two fp16 are exact before they are added. The weights are
read anew on each call. The fused path has no backward: where autograd records, the plain operators run instead, and
also where blocks of weights do not hold whole warps' shares (a block size that is no multiple of 64).
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = "at::Tensor fp8_linear(at::Tensor x, at::Tensor weight, at::Tensor scale, int64_t block);"

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace {

constexpr int kStages = 4;
constexpr int kDepth = 256;     // terms of the sum in a stage
constexpr int kPart = 64;       // of which a warp takes as many
constexpr int kFeatures = 128;  // output features of a block
constexpr int kWarpFeatures = 32;
constexpr int kFeatureWarps = kFeatures / kWarpFeatures, kDepthWarps = kDepth / kPart;
constexpr int kThreads = 32 * kFeatureWarps * kDepthWarps;
constexpr int kWeightBytes = kFeatures * kDepth;

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

// d (16 x 8, fp32) += a (16 x 16, fp16) b (16 x 8, fp16)
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four e4m3 as two pairs of fp16.
__device__ __forceinline__ void unpack(uint32_t four, uint32_t& first, uint32_t& second) {
  const __half2_raw low =
      __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(four & 0xffffu), __NV_E4M3);
  const __half2_raw high =
      __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(four >> 16), __NV_E4M3);
  first = low.x | static_cast<uint32_t>(low.y) << 16;
  second = high.x | static_cast<uint32_t>(high.y) << 16;
}

// Where the 16-byte piece `piece` of row `row` lies, so that a warp's loads spread over all banks.
__device__ __forceinline__ int weight_at(int row, int piece) {
  return row * kDepth + (piece ^ (row & 1) << 2) * 16;
}
__device__ __forceinline__ int token_at(int row, int piece) {
  return row * kDepth * 2 + (piece ^ (row & 1)) * 16;
}

// 16 bytes to shared memory: as many elements as there are (`count` may be negative), then zeros.
template <bool kAligned, typename T>
__device__ __forceinline__ void stage_piece(char* to, const T* from, int count) {
  if constexpr (kAligned) {
    copy_16(to, from, count > 0 ? 16 : 0);
  } else {
    T* out = reinterpret_cast<T*>(to);
    for (int i = 0; i < static_cast<int>(16 / sizeof(T)); ++i) out[i] = i < count ? from[i] : T(0);
  }
}

// The smaller of the two; n may be negative.
__device__ __forceinline__ int up_to(int64_t n, int most) {
  return n < most ? static_cast<int>(n) : most;
}

// kTiles: groups of eight tokens.
template <int kTiles, bool kAligned>
__global__ void __launch_bounds__(kThreads, 1)
multiply(const uint16_t* __restrict__ x, const uint8_t* __restrict__ weight,
         const __half* __restrict__ scale, int block, int scale_columns, int tokens,
         int64_t depth, int64_t features, __half* __restrict__ out) {
  constexpr int kTokens = 8 * kTiles, kTokenBytes = kTokens * kDepth * 2;
  constexpr int kStageBytes = kWeightBytes + kTokenBytes;
  extern __shared__ __align__(128) char memory[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int feature_warp = warp % kFeatureWarps, depth_warp = warp / kFeatureWarps;
  const int group = lane / 4, member = lane % 4;
  const int64_t feature0 = static_cast<int64_t>(blockIdx.x) * kFeatures;
  const int token0 = blockIdx.y * kTokens;
  const int stages = static_cast<int>((depth + kDepth - 1) / kDepth);

  // A thread copies one piece of every 32nd row of weights, and one of every 16th token.
  constexpr int kWeightPieces = kDepth / 16, kTokenPieces = kDepth / 8;
  constexpr int kWeightStep = kThreads / kWeightPieces, kTokenStep = kThreads / kTokenPieces;
  const int weight_row = threadIdx.x / kWeightPieces, weight_piece = threadIdx.x % kWeightPieces;
  const int token_row = threadIdx.x / kTokenPieces, token_piece = threadIdx.x % kTokenPieces;
  const uint8_t* from_weight = weight + (feature0 + weight_row) * depth + 16 * weight_piece;
  const uint16_t* from_x = x + (token0 + token_row) * depth + 8 * token_piece;
  const int my_features = up_to(features - feature0 - weight_row, kFeatures);
  const int my_tokens = tokens - token0 - token_row;
  auto bring = [&](int stage) {
    if (stage < stages) {
      const int64_t k0 = static_cast<int64_t>(stage) * kDepth;
      char* to = memory + stage % kStages * kStageBytes;
      int count = up_to(depth - k0 - 16 * weight_piece, 16);
      const uint8_t* weights = from_weight + k0;
#pragma unroll
      for (int i = 0; i < kFeatures; i += kWeightStep, weights += kWeightStep * depth)
        stage_piece<kAligned>(to + weight_at(weight_row, weight_piece) + i * kDepth, weights,
                              i < my_features ? count : 0);
      to += kWeightBytes;
      count = up_to(depth - k0 - 8 * token_piece, 8);
      const uint16_t* values = from_x + k0;
#pragma unroll
      for (int i = 0; i < kTokens; i += kTokenStep, values += kTokenStep * depth)
        if (token_row + i < kTokens)
          stage_piece<kAligned>(to + token_at(token_row, token_piece) + i * kDepth * 2, values,
                                i < my_tokens ? count : 0);
    }
    copies_end();
  };

  // A warp's features lie in one row of blocks, its terms of one stage in one column of them.
  const int64_t my_feature = feature0 + feature_warp * kWarpFeatures;
  const int64_t scale_row = (my_feature < features ? my_feature : 0) / block;
  scale += scale_row * scale_columns;

  float sums[2][kTiles][4] = {};
  for (int s = 0; s < kStages - 1; ++s) bring(s);
  for (int stage = 0; stage < stages; ++stage) {
    copies_wait<kStages - 2>();
    __syncthreads();
    bring(stage + kStages - 1);
    const char* weights = memory + stage % kStages * kStageBytes;
    const char* values = weights + kWeightBytes;
    const int column = (stage * kDepth + depth_warp * kPart) / block;
    // Beyond the end there are only zeros, which any finite factor leaves zeros.
    const float factor = column < scale_columns ? __half2float(scale[column]) : 0.f;
    uint32_t a[2][4][4];  // [tile of features][product][register]
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = feature_warp * kWarpFeatures + 16 * m + 8 * h + group;
        const uint4 w =
            *reinterpret_cast<const uint4*>(weights + weight_at(row, depth_warp * 4 + member));
        unpack(w.x, a[m][0][h], a[m][0][h + 2]);
        unpack(w.y, a[m][1][h], a[m][1][h + 2]);
        unpack(w.z, a[m][2][h], a[m][2][h + 2]);
        unpack(w.w, a[m][3][h], a[m][3][h + 2]);
      }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float fresh[2][4] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // eight of the thread's sixteen terms
        const int piece = depth_warp * 8 + member * 2 + half;
        const uint4 b = *reinterpret_cast<const uint4*>(values + token_at(8 * n + group, piece));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(fresh[m], a[m][2 * half], b.x, b.y);
          multiply_add(fresh[m], a[m][2 * half + 1], b.z, b.w);
        }
      }
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] += fresh[m][i] * factor;
    }
  }

  // The partial sums of the warps along the depth: [depth warp][token][feature].
  copies_wait<0>();
  __syncthreads();
  float* partial = reinterpret_cast<float*>(memory);
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int feature = feature_warp * kWarpFeatures + 16 * m + 8 * (i / 2) + group;
        const int token = 8 * n + 2 * member + i % 2;
        partial[(depth_warp * kTokens + token) * kFeatures + feature] = sums[m][n][i];
      }
  __syncthreads();
  for (int i = threadIdx.x; i < kTokens * kFeatures; i += kThreads) {
    const int token = token0 + i / kFeatures;
    const int64_t feature = feature0 + i % kFeatures;
    if (token >= tokens || feature >= features) continue;
    float sum = partial[i];
#pragma unroll
    for (int d = 1; d < kDepthWarps; ++d) sum += partial[d * kTokens * kFeatures + i];
    out[token * features + feature] = __float2half_rn(sum);
  }
}

template <int kTiles, bool kAligned>
void launch(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scale,
            int64_t block, at::Tensor& out, cudaStream_t stream) {
  constexpr int kTokens = 8 * kTiles;
  constexpr int kBytes = kStages * (kWeightBytes + kTokens * kDepth * 2);
  static_assert(kBytes >= kDepthWarps * kTokens * kFeatures * 4, "room for the partial sums");
  const int64_t tokens = out.size(0), features = out.size(1), depth = weight.size(1);
  auto kernel = multiply<kTiles, kAligned>;
  C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int64_t across = (features + kFeatures - 1) / kFeatures;
  const int64_t down = (tokens + kTokens - 1) / kTokens;
  TORCH_CHECK(across < (int64_t{1} << 31) && down < 65536, "too many blocks for one launch");
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(down));
  kernel<<<grid, kThreads, kBytes, stream>>>(
      static_cast<const uint16_t*>(x.const_data_ptr()),
      static_cast<const uint8_t*>(weight.const_data_ptr()),
      static_cast<const __half*>(scale.const_data_ptr()),
      static_cast<int>(block), static_cast<int>(scale.size(1)), static_cast<int>(tokens), depth,
      features,
      static_cast<__half*>(out.mutable_data_ptr()));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

bool wide(const at::Tensor& t) { return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0; }

}  // namespace

at::Tensor fp8_linear(at::Tensor x, at::Tensor weight, at::Tensor scale, int64_t block) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(x.dim() == 2 && x.scalar_type() == at::kHalf && x.is_cuda(),
              "expected a 2-d fp16 CUDA tensor");
  TORCH_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kByte &&
                  weight.device() == x.device() && weight.size(1) == x.size(1),
              "expected uint8 weights of ", x.size(1), " columns on ", x.device());
  const int64_t features = weight.size(0), tokens = x.size(0);
  TORCH_CHECK(tokens < (int64_t{1} << 31) && weight.size(1) < (int64_t{1} << 30) &&
                  block < (int64_t{1} << 31), "too large for 32-bit indices");
  TORCH_CHECK(block > 0 && block % kPart == 0, "blocks of a multiple of ", kPart, " weights");
  TORCH_CHECK(scale.dim() == 2 && scale.scalar_type() == at::kHalf && scale.device() == x.device() &&
                  scale.size(0) == (features + block - 1) / block &&
                  scale.size(1) == (weight.size(1) + block - 1) / block,
              "expected one fp16 scale for each block on ", x.device());
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  weight = weight.contiguous();
  scale = scale.contiguous();
  at::Tensor out = at::empty({tokens, features}, x.options());
  if (out.numel() == 0) return out;
  const bool aligned = weight.size(1) % 16 == 0 && wide(x) && wide(weight);
  if (!aligned)
    launch<4, false>(x, weight, scale, block, out, stream);
  else if (tokens <= 8)
    launch<1, true>(x, weight, scale, block, out, stream);
  else if (tokens <= 16)
    launch<2, true>(x, weight, scale, block, out, stream);
  else
    launch<4, true>(x, weight, scale, block, out, stream);
  return out;
}
"""


_extension = load_inline(
    name="kb_fp8_linear_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["fp8_linear"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features, block):
        super().__init__()
        values = torch.randn(out_features, in_features).to(torch.float8_e4m3fn)
        self.register_buffer("weight", values.view(torch.uint8))
        self.scale = nn.Parameter(0.02 + 0.04 * torch.rand(-(-out_features // block), -(-in_features // block)))
        self.block = block

    def forward(self, x):
        if torch.is_grad_enabled() or x.dtype != torch.float16 or self.block % 64:
            return self._by_operators(x)
        return _extension.fp8_linear(x, self.weight, self.scale, self.block)

    def _by_operators(self, x):
        rows, columns = self.weight.shape
        scale = self.scale.repeat_interleave(self.block, 0)[:rows].repeat_interleave(self.block, 1)[:, :columns]
        return x @ (self.weight.view(torch.float8_e4m3fn).to(x.dtype) * scale).t()
