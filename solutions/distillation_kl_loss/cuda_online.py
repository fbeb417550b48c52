"""Distillation loss (Kullback-Leibler divergence of two softmaxes) on CUDA, one read of both inputs and nothing else.

With t and s the teacher's and student's logits over the temperature, a row's divergence is

    sum p (t - s) - logsumexp(t) + logsumexp(s),   p = softmax(t).

A thread keeps the largest t and s so far, both sums of exponentials, and the sum of exp(t - largest) (t - s); a tree of
fixed shape merges these five over the block. No log-probability is ever stored. A second, tiny kernel adds the rows in
double, in a fixed order.

Sound because each sum is relative to a largest value that travels with it, so the sums may be merged in any grouping.
Where a logit is not finite the loss is not, as in torch.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.cpp_extension import load_inline

_CPP = "at::Tensor divergence(at::Tensor student, at::Tensor teacher, double temperature);"

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kUnroll = 2;  // 16-byte loads in flight per thread and input
constexpr int kFinishThreads = 1024;
constexpr unsigned kAll = 0xffffffffu;

// What may be subtracted: -inf - -inf would be NaN where there is merely nothing yet.
__device__ __forceinline__ float safe(float m) { return m == -INFINITY ? 0.f : m; }

// Over some columns: sums of exp(t - teacher), of exp(t - teacher) (t - s), and of exp(s - student).
struct Sums {
  float teacher, teacher_sum, weighted, student, student_sum;

  template <int K>
  __device__ void add(const float (&t)[K], const float (&s)[K]) {
    float most_t = teacher, most_s = student;
#pragma unroll
    for (int i = 0; i < K; ++i) {
      most_t = fmaxf(most_t, t[i]);
      most_s = fmaxf(most_s, s[i]);
    }
    const float base_t = safe(most_t), base_s = safe(most_s);
    float sum_t = 0, sum_w = 0, sum_s = 0;
#pragma unroll
    for (int i = 0; i < K; ++i) {
      const float e = __expf(t[i] - base_t);
      sum_t += e;
      sum_w += e * (t[i] - s[i]);
      sum_s += __expf(s[i] - base_s);
    }
    const float keep_t = __expf(teacher - base_t);
    teacher_sum = teacher_sum * keep_t + sum_t;
    weighted = weighted * keep_t + sum_w;
    student_sum = student_sum * __expf(student - base_s) + sum_s;
    teacher = most_t;
    student = most_s;
  }

  __device__ void merge(const Sums& o) {
    const float most_t = fmaxf(teacher, o.teacher), base_t = safe(most_t);
    const float most_s = fmaxf(student, o.student), base_s = safe(most_s);
    const float mine = __expf(teacher - base_t), theirs = __expf(o.teacher - base_t);
    teacher_sum = teacher_sum * mine + o.teacher_sum * theirs;
    weighted = weighted * mine + o.weighted * theirs;
    student_sum = student_sum * __expf(student - base_s) +
                  o.student_sum * __expf(o.student - base_s);
    teacher = most_t;
    student = most_s;
  }

  __device__ float divergence() const {
    const double base = (static_cast<double>(student) - teacher) + log(double{student_sum}) -
                        log(double{teacher_sum});
    return static_cast<float>(double{weighted} / teacher_sum + base);
  }
};

// Both partners of a step merge the same two: the order of the two does not matter, since sums of two commute.
__device__ Sums warp_merge(Sums m) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const Sums other = {__shfl_xor_sync(kAll, m.teacher, step),
                        __shfl_xor_sync(kAll, m.teacher_sum, step),
                        __shfl_xor_sync(kAll, m.weighted, step),
                        __shfl_xor_sync(kAll, m.student, step),
                        __shfl_xor_sync(kAll, m.student_sum, step)};
    m.merge(other);
  }
  return m;
}

// One block per row.
template <bool kWide>
__global__ void __launch_bounds__(kThreads)
row_divergences(const float* __restrict__ student, const float* __restrict__ teacher,
                int64_t vocabulary, float factor, float* __restrict__ rows) {
  const float* s_row = student + blockIdx.x * vocabulary;
  const float* t_row = teacher + blockIdx.x * vocabulary;
  Sums m = {-INFINITY, 0.f, 0.f, -INFINITY, 0.f};
  if constexpr (kWide) {
    const float4* s_wide = reinterpret_cast<const float4*>(s_row);
    const float4* t_wide = reinterpret_cast<const float4*>(t_row);
    const int64_t vectors = vocabulary / 4;
    int64_t i = threadIdx.x;
    for (; i + (kUnroll - 1) * kThreads < vectors; i += kUnroll * kThreads) {
      float4 got_s[kUnroll], got_t[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        got_s[u] = __ldcs(s_wide + i + u * kThreads);
        got_t[u] = __ldcs(t_wide + i + u * kThreads);
      }
      float s[4 * kUnroll], t[4 * kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        s[4 * u] = got_s[u].x * factor;
        s[4 * u + 1] = got_s[u].y * factor;
        s[4 * u + 2] = got_s[u].z * factor;
        s[4 * u + 3] = got_s[u].w * factor;
        t[4 * u] = got_t[u].x * factor;
        t[4 * u + 1] = got_t[u].y * factor;
        t[4 * u + 2] = got_t[u].z * factor;
        t[4 * u + 3] = got_t[u].w * factor;
      }
      m.add(t, s);
    }
    for (; i < vectors; i += kThreads) {
      const float4 got_s = __ldcs(s_wide + i), got_t = __ldcs(t_wide + i);
      const float s[4] = {got_s.x * factor, got_s.y * factor, got_s.z * factor, got_s.w * factor};
      const float t[4] = {got_t.x * factor, got_t.y * factor, got_t.z * factor, got_t.w * factor};
      m.add(t, s);
    }
  } else {
    for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads) {
      const float s[1] = {s_row[i] * factor}, t[1] = {t_row[i] * factor};
      m.add(t, s);
    }
  }

  __shared__ float slots[kWarps][5];
  m = warp_merge(m);
  if (threadIdx.x % 32 == 0) {
    float* slot = slots[threadIdx.x / 32];
    slot[0] = m.teacher;
    slot[1] = m.teacher_sum;
    slot[2] = m.weighted;
    slot[3] = m.student;
    slot[4] = m.student_sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < kWarps; ++w)
      m.merge({slots[w][0], slots[w][1], slots[w][2], slots[w][3], slots[w][4]});
    rows[blockIdx.x] = m.divergence();
  }
}

// factor * (sum of the rows) in double and in a fixed order. One block.
__global__ void __launch_bounds__(kFinishThreads)
finish(const float* __restrict__ rows, int64_t count, double factor, float* __restrict__ out) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kFinishThreads) sum += rows[i];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(kAll, sum, step);
  __shared__ double sums[32];
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < kFinishThreads / 32; ++w) sums[0] += sums[w];
    *out = static_cast<float>(sums[0] * factor);
  }
}

bool wide(const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace

at::Tensor divergence(at::Tensor student, at::Tensor teacher, double temperature) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(student.dim() == 2 && student.scalar_type() == at::kFloat && student.is_cuda(),
              "expected 2-d fp32 CUDA tensors of logits");
  TORCH_CHECK(teacher.scalar_type() == at::kFloat && teacher.device() == student.device() &&
                  teacher.sizes() == student.sizes(), "student and teacher must be alike");
  const c10::cuda::CUDAGuard guard(student.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  student = student.contiguous();
  teacher = teacher.contiguous();
  const int64_t count = student.size(0), vocabulary = student.size(1);
  TORCH_CHECK(count < (int64_t{1} << 31), "too many rows for one launch");
  at::Tensor out = at::empty({}, student.options());
  at::Tensor rows = at::empty({count}, student.options());
  const float* s = student.const_data_ptr<float>();
  const float* t = teacher.const_data_ptr<float>();
  float* each = rows.mutable_data_ptr<float>();
  const float factor = static_cast<float>(1 / temperature);
  if (count > 0) {
    const unsigned grid = static_cast<unsigned>(count);
    if (vocabulary % 4 == 0 && wide(s) && wide(t))
      row_divergences<true><<<grid, kThreads, 0, stream>>>(s, t, vocabulary, factor, each);
    else
      row_divergences<false><<<grid, kThreads, 0, stream>>>(s, t, vocabulary, factor, each);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  finish<<<1, kFinishThreads, 0, stream>>>(each, count, temperature * temperature / count,
                                           out.mutable_data_ptr<float>());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""


_extension = load_inline(
    name="kb_distillation_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["divergence"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, temperature):
        super().__init__()
        self.temperature = temperature

    def forward(self, student, teacher):
        if torch.is_grad_enabled():
            log_q = F.log_softmax(student / self.temperature, dim=-1)
            log_p = F.log_softmax(teacher / self.temperature, dim=-1)
            return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * self.temperature**2
        return _extension.divergence(student, teacher, self.temperature)
