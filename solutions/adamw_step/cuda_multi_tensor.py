"""An AdamW step for many tensors on CUDA in one launch.

The addresses and sizes of all tensors are the kernel's argument, a table; each block finds its tensor there and does
4096 elements of it: four reads and three writes per element, all arithmetic in registers. Tables longer than an
argument can be take one launch for each part.

Sound because every element depends on the same element of the four inputs alone, and the operations are the
reference's own, in its order.

Where autograd records, or a tensor is not fp32 on CUDA, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
std::vector<at::Tensor> adamw(std::vector<at::Tensor> params, std::vector<at::Tensor> grads,
                              std::vector<at::Tensor> moments1, std::vector<at::Tensor> moments2, double lr,
                              double beta1, double beta2, double eps, double weight_decay, int64_t step);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int kThreads = 256;
constexpr int kVecs = 2;  // float4 of a thread and turn
constexpr int kTurns = 2;
constexpr int kPiece = kThreads * 4 * kVecs * kTurns;
constexpr int kTensors = 48;  // of one launch: an argument has room for 4096 bytes

struct Entry {
  const float* in[4];  // parameter, gradient, first and second moment
  float* out[3];
  int64_t size;
};

struct Table {
  Entry entries[kTensors];
  int ends[kTensors];  // the number of blocks up to and with each tensor
  int count;
};

struct Factors {
  float lr, beta1, rest1, beta2, rest2, correction1, correction2, eps, weight_decay;
};

__device__ __forceinline__ void update(const Factors& k, float& p, float g, float& m, float& v) {
  m = k.beta1 * m + k.rest1 * g;
  v = k.beta2 * (v < 0.f ? 0.f : v) + k.rest2 * g * g;  // in this form a NaN stays NaN
  const float change = (m / k.correction1) / (sqrtf(v / k.correction2) + k.eps);
  p = p - k.lr * (change + k.weight_decay * p);
}

__device__ __forceinline__ void update(const Factors& k, float4& p, const float4& g, float4& m, float4& v) {
  update(k, p.x, g.x, m.x, v.x);
  update(k, p.y, g.y, m.y, v.y);
  update(k, p.z, g.z, m.z, v.z);
  update(k, p.w, g.w, m.w, v.w);
}

__global__ void __launch_bounds__(kThreads) step(const __grid_constant__ Table table, const Factors k) {
  const int block = blockIdx.x;
  int tensor = 0;
  while (block >= table.ends[tensor]) ++tensor;
  const Entry& entry = table.entries[tensor];
  const int64_t begin = int64_t{block - (tensor > 0 ? table.ends[tensor - 1] : 0)} * kPiece;
  const int64_t left = entry.size - begin;
  const float* in[4];
  float* out[3];
  uintptr_t together = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) in[i] = entry.in[i] + begin;
#pragma unroll
  for (int i = 0; i < 3; ++i) out[i] = entry.out[i] + begin;
#pragma unroll
  for (int i = 0; i < 4; ++i) together |= reinterpret_cast<uintptr_t>(in[i]);
#pragma unroll
  for (int i = 0; i < 3; ++i) together |= reinterpret_cast<uintptr_t>(out[i]);

  if (left >= kPiece && together % 16 == 0) {
#pragma unroll 1
    for (int turn = 0; turn < kTurns; ++turn) {
      float4 v[4][kVecs];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < kVecs; ++j)
          v[i][j] = __ldcs(reinterpret_cast<const float4*>(in[i]) + (turn * kVecs + j) * kThreads + threadIdx.x);
#pragma unroll
      for (int j = 0; j < kVecs; ++j) {
        const int at = (turn * kVecs + j) * kThreads + threadIdx.x;
        update(k, v[0][j], v[1][j], v[2][j], v[3][j]);
        __stcs(reinterpret_cast<float4*>(out[0]) + at, v[0][j]);
        __stcs(reinterpret_cast<float4*>(out[1]) + at, v[2][j]);
        __stcs(reinterpret_cast<float4*>(out[2]) + at, v[3][j]);
      }
    }
  } else {
    const int count = static_cast<int>(left < kPiece ? left : kPiece);
    for (int i = threadIdx.x; i < count; i += kThreads) {
      float p = in[0][i], m = in[2][i], v = in[3][i];
      update(k, p, in[1][i], m, v);
      out[0][i] = p;
      out[1][i] = m;
      out[2][i] = v;
    }
  }
}

}  // namespace

std::vector<at::Tensor> adamw(std::vector<at::Tensor> params, std::vector<at::Tensor> grads,
                              std::vector<at::Tensor> moments1, std::vector<at::Tensor> moments2, double lr,
                              double beta1, double beta2, double eps, double weight_decay, int64_t step_number) {
  at::NoGradGuard no_grad;
  const size_t count = params.size();
  TORCH_CHECK(grads.size() == count && moments1.size() == count && moments2.size() == count,
              "expected four lists of equal length");
  std::vector<at::Tensor> outputs(3 * count);
  if (count == 0) return outputs;
  const c10::cuda::CUDAGuard guard(params[0].device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  const double number = static_cast<double>(step_number);
  const Factors factors = {static_cast<float>(lr),
                           static_cast<float>(beta1),
                           static_cast<float>(1 - beta1),
                           static_cast<float>(beta2),
                           static_cast<float>(1 - beta2),
                           static_cast<float>(1 - std::pow(beta1, number)),
                           static_cast<float>(1 - std::pow(beta2, number)),
                           static_cast<float>(eps),
                           static_cast<float>(weight_decay)};

  std::vector<at::Tensor> held;  // contiguous copies, should there be any, until the launch
  Table table;
  table.count = 0;
  int64_t blocks = 0;
  auto launch = [&] {
    if (table.count > 0) {
      step<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(table, factors);
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    }
    table.count = 0;
    blocks = 0;
    held.clear();
  };
  for (size_t i = 0; i < count; ++i) {
    const at::Tensor inputs[4] = {params[i], grads[i], moments1[i], moments2[i]};
    Entry entry;
    entry.size = params[i].numel();
    for (int j = 0; j < 4; ++j) {
      TORCH_CHECK(inputs[j].scalar_type() == at::kFloat && inputs[j].device() == params[0].device() &&
                      inputs[j].is_cuda() && inputs[j].sizes() == params[i].sizes(),
                  "expected fp32 tensors of equal shapes on one CUDA device");
      held.push_back(inputs[j].contiguous());
      entry.in[j] = held.back().const_data_ptr<float>();
    }
    for (int j = 0; j < 3; ++j) {
      at::Tensor& out = outputs[j * count + i];
      out = at::empty(params[i].sizes(), params[i].options());
      entry.out[j] = out.mutable_data_ptr<float>();
    }
    if (entry.size == 0) continue;
    blocks += (entry.size + kPiece - 1) / kPiece;
    TORCH_CHECK(blocks < (int64_t{1} << 31), "too many blocks for one launch");
    table.entries[table.count] = entry;
    table.ends[table.count] = static_cast<int>(blocks);
    if (++table.count == kTensors) launch();
  }
  launch();
  return outputs;
}
"""


_extension = load_inline(
    name="kb_adamw_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["adamw"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, lr, beta1, beta2, eps, weight_decay, step):
        super().__init__()
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.weight_decay, self.step = weight_decay, step

    def forward(self, params, grads, moments1, moments2):
        suits = all(p.is_cuda and p.dtype == torch.float32 for p in params)
        if torch.is_grad_enabled() or not suits:
            return self._recorded(params, grads, moments1, moments2)
        made = _extension.adamw(
            params,
            grads,
            moments1,
            moments2,
            self.lr,
            self.beta1,
            self.beta2,
            self.eps,
            self.weight_decay,
            self.step,
        )
        count = len(params)
        return made[:count], made[count : 2 * count], made[2 * count :]

    def _recorded(self, params, grads, moments1, moments2):
        """The same function out of operators that autograd knows."""
        correction1, correction2 = 1 - self.beta1**self.step, 1 - self.beta2**self.step
        new_params, new_moments1, new_moments2 = [], [], []
        for p, g, m, v in zip(params, grads, moments1, moments2, strict=True):
            m = self.beta1 * m + (1 - self.beta1) * g
            v = self.beta2 * v.clamp(min=0) + (1 - self.beta2) * g * g
            update = (m / correction1) / ((v / correction2).sqrt() + self.eps)
            new_params.append(p - self.lr * (update + self.weight_decay * p))
            new_moments1.append(m)
            new_moments2.append(v)
        return new_params, new_moments1, new_moments2
