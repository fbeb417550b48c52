"""Histograms of bytes on CUDA: counters in shared memory, a copy of them for each lane.

Counter ``bin`` of lane ``l`` lies in bank ``l``, so the 32 additions of a warp never meet in one bank, whatever the
values are. A block counts part of a plane, 16 bytes a load, sums the 32 copies and adds its counts to the output;
where a plane has one block, it just writes them.

Sound because counts are integers: in whatever order atomics add them, the sum is the same.

Where autograd records, the plain operators run instead, as for other dtypes.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor histogram_uint8(at::Tensor x);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kThreads = 512;
constexpr int kBins = 256;
constexpr int kPerSm = 4;          // blocks that fit on a multiprocessor
constexpr int64_t kLeast = 32768;  // bytes below which a further split does not pay

__device__ __forceinline__ void count4(int* own, unsigned four) {
  atomicAdd(own + (four & 255u) * 32, 1);
  atomicAdd(own + ((four >> 8) & 255u) * 32, 1);
  atomicAdd(own + ((four >> 16) & 255u) * 32, 1);
  atomicAdd(own + (four >> 24) * 32, 1);
}

// Block b counts part b % parts of plane b / parts.
template <bool kVectors>
__global__ void __launch_bounds__(kThreads, kPerSm)
count(const uint8_t* x, int64_t length, int parts, unsigned long long* out) {
  __shared__ __align__(16) int counts[kBins * 32];
  int4* all = reinterpret_cast<int4*>(counts);
  for (int i = threadIdx.x; i < kBins * 8; i += kThreads) all[i] = make_int4(0, 0, 0, 0);
  __syncthreads();

  const int64_t plane = blockIdx.x / parts, part = blockIdx.x % parts;
  const uint8_t* in = x + plane * length;
  int* own = counts + threadIdx.x % 32;
  if (kVectors) {
    const uint4* in16 = reinterpret_cast<const uint4*>(in);
    const int64_t vectors = length / 16, end = vectors * (part + 1) / parts;
    int64_t i = vectors * part / parts + threadIdx.x;
    for (; i + 3 * kThreads < end; i += 4 * kThreads) {
      uint4 v[4];
#pragma unroll
      for (int u = 0; u < 4; ++u) v[u] = __ldcs(in16 + i + u * kThreads);
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        count4(own, v[u].x);
        count4(own, v[u].y);
        count4(own, v[u].z);
        count4(own, v[u].w);
      }
    }
    for (; i < end; i += kThreads) {
      const uint4 v = __ldcs(in16 + i);
      count4(own, v.x);
      count4(own, v.y);
      count4(own, v.z);
      count4(own, v.w);
    }
  } else {
    const int64_t end = length * (part + 1) / parts;
    for (int64_t i = length * part / parts + threadIdx.x; i < end; i += kThreads) atomicAdd(own + in[i] * 32, 1);
  }
  __syncthreads();

  // Two threads a bin, of which one has the even lanes; neighbours start apart, so that they meet in no bank.
  const int bin = threadIdx.x / 2;
  int sum = 0;
#pragma unroll
  for (int i = 0; i < 16; ++i) sum += counts[bin * 32 + (2 * i + threadIdx.x) % 32];
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  if (threadIdx.x % 2 == 0) {
    unsigned long long* target = out + plane * kBins + bin;
    if (parts == 1)
      *target = sum;
    else if (sum > 0)
      atomicAdd(target, static_cast<unsigned long long>(sum));
  }
}

}  // namespace

at::Tensor histogram_uint8(at::Tensor x) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(x.dim() >= 2 && x.scalar_type() == at::kByte && x.is_cuda(),
              "expected a uint8 CUDA tensor of images and channels");
  static_assert(kThreads == 2 * kBins, "two threads sum up a bin");
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  const int64_t planes = x.size(0) * x.size(1);
  const auto options = x.options().dtype(at::kLong);
  if (x.numel() == 0) return at::zeros({x.size(0), x.size(1), kBins}, options);
  const int64_t length = x.numel() / planes;
  int multiprocessors = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, x.get_device()));
  // As many blocks as run at once; but 32 bits must be enough for a block's counts.
  int64_t parts = multiprocessors * kPerSm / planes;
  const int64_t most = (length + kLeast - 1) / kLeast;
  if (parts > most) parts = most;
  const int64_t least = length / (int64_t{1} << 30) + 1;
  if (parts < least) parts = least;
  TORCH_CHECK(planes * parts < (int64_t{1} << 31), "too many blocks for one launch");
  at::Tensor out = parts > 1 ? at::zeros({x.size(0), x.size(1), kBins}, options)
                             : at::empty({x.size(0), x.size(1), kBins}, options);
  const uint8_t* in = x.const_data_ptr<uint8_t>();
  const bool vectors = length % 16 == 0 && reinterpret_cast<uintptr_t>(in) % 16 == 0;
  const auto kernel = vectors ? count<true> : count<false>;
  kernel<<<static_cast<unsigned>(planes * parts), kThreads, 0, stream>>>(
      in, length, static_cast<int>(parts), reinterpret_cast<unsigned long long*>(out.mutable_data_ptr<int64_t>()));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""


_extension = load_inline(
    name="kb_histogram_uint8_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["histogram_uint8"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def forward(self, x):
        if torch.is_grad_enabled() or not x.is_cuda or x.dtype != torch.uint8 or x.dim() < 3:
            values = x.flatten(2).long()
            counts = torch.zeros(*x.shape[:2], 256, dtype=torch.int64, device=x.device)
            return counts.scatter_add(2, values, torch.ones_like(values))
        return _extension.histogram_uint8(x)
