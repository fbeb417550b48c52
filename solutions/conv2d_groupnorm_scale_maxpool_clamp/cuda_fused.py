"""Conv2d, GroupNorm, *scale, MaxPool2d and clamp on CUDA, fused in forward.

cuDNN convolves; one pass gathers each group's moments, a second reads each pooling window,
normalises, scales, takes the maximum and clamps, and writes only the pooled result.

Sound because the moments are deviations from the mean of 16 values in registers, joined in double
in a fixed order. The affine step comes before the maximum, so the sign of a weight does not
matter; NaNs propagate. Nothing depends on atomics, so repeated calls agree bit for bit.

The fused path has no backward: where autograd records, the plain operators run instead.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias,
                                     at::Tensor gamma, at::Tensor beta, at::Tensor scale,
                                     int64_t groups, double eps, int64_t window, double lo,
                                     double hi);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kUnroll = 4;          // 16-byte loads in flight per thread
constexpr int64_t kBlocks = 4096;   // about four waves on 132 SMs
constexpr int64_t kMinPart = 4096;  // floats below which a further split does not pay

// How many blocks share each of `spans` runs of `length` floats.
int64_t parts_for(int64_t spans, int64_t length) {
  const int64_t wanted = (kBlocks + spans - 1) / spans;
  const int64_t useful = (length + kMinPart - 1) / kMinPart;
  return wanted < useful ? wanted : useful;
}

unsigned grid_for(int64_t blocks) {
  TORCH_CHECK(blocks < (int64_t{1} << 31), "too many blocks for one launch");
  return static_cast<unsigned>(blocks);
}

// As a tree, since the rounding of a tree has no bias for equal values.
template <int K>
__device__ __forceinline__ float tree_sum(const float* x) {
  if constexpr (K == 1)
    return x[0];
  else
    return tree_sum<K / 2>(x) + tree_sum<K / 2>(x + K / 2);
}

// Sum of values, sum of T*T/k over chunks (T a chunk's total, k its length), and squared
// deviations from each chunk's own mean. Chunks are 1, 4 or 16 floats in registers; their totals
// meet in double, so nothing cancels in fp32 however far the mean is from zero.
struct Moments {
  double sum, between, within;

  template <int K>
  __device__ void add(const float (&x)[K]) {
    // K is a power of two, so this is the exact mean of the rounded total.
    const float rounded = tree_sum<K>(x), mean = rounded * (1.f / K);
    float squares = 0;
#pragma unroll
    for (int i = 0; i < K; ++i) {
      const float d = x[i] - mean;
      squares += d * d;
    }
    const double total = rounded;
    sum += total;
    between += total * total * (1.0 / K);
    within += squares;
  }

  __device__ void merge(const Moments& other) {
    sum += other.sum;
    between += other.between;
    within += other.within;
  }

  // Not fmax: that would turn a NaN into 0.
  __device__ double squared_deviations(double n) const {
    const double m2 = within + (between - sum * sum / n);
    return m2 < 0 ? 0 : m2;
  }
};

// Valid in lane 0. The order is fixed, so results repeat bit for bit.
__device__ Moments warp_sum(Moments m) {
  for (int step = 16; step > 0; step /= 2) {
    Moments other;
    other.sum = __shfl_down_sync(0xffffffffu, m.sum, step);
    other.between = __shfl_down_sync(0xffffffffu, m.between, step);
    other.within = __shfl_down_sync(0xffffffffu, m.within, step);
    m.merge(other);
  }
  return m;
}

// Called by every thread of the block; the total goes to *out.
__device__ void block_sum(Moments m, Moments* out) {
  __shared__ double shared[kWarps][3];
  m = warp_sum(m);
  if (threadIdx.x % 32 == 0) {
    double* slot = shared[threadIdx.x / 32];
    slot[0] = m.sum;
    slot[1] = m.between;
    slot[2] = m.within;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    Moments total = {0, 0, 0};
    for (int w = 0; w < kWarps; ++w) total.merge({shared[w][0], shared[w][1], shared[w][2]});
    *out = total;
  }
}

// Called by one whole warp: sum of `count` partial results, valid in lane 0.
__device__ Moments gather(const Moments* partial, int64_t count) {
  Moments m = {0, 0, 0};
  for (int64_t i = threadIdx.x % 32; i < count; i += 32) m.merge(partial[i]);
  return warp_sum(m);
}

// y = (x - mean) * gain + offset. The part of the mean that fp32 cannot hold goes into offset.
struct Affine {
  float mean, gain, offset;

  __device__ static Affine of(double mean, double gain, double shift) {
    const float rounded = static_cast<float>(mean);
    return {rounded, static_cast<float>(gain),
            static_cast<float>(shift - (mean - rounded) * gain)};
  }

  __device__ float operator()(float x) const { return (x - mean) * gain + offset; }
};

// A run of n floats is up to 3 floats before the first 16-byte boundary, `vectors` float4, and up
// to 3 floats after them. A plane of odd size starts off the boundary, hence per run, not once.
struct Run {
  int64_t head, vectors, edges;

  __device__ Run(const float* p, int64_t n) {
    head = (16 - reinterpret_cast<uintptr_t>(p) % 16) % 16 / sizeof(float);
    if (head > n) head = n;
    vectors = (n - head) / 4;
    edges = n - 4 * vectors;  // at most 6, fewer than a block's threads
  }

  // Where the e-th float outside the vectors lies.
  __device__ int64_t edge(int64_t e) const { return e < head ? e : e + 4 * vectors; }
};

// Moments of f(x) over this block's share of a run: part `part` of `parts`.
template <typename F>
__device__ Moments moments_of(const float* p, int64_t n, int64_t part, int64_t parts, F f) {
  const Run run(p, n);
  const float4* body = reinterpret_cast<const float4*>(p + run.head);
  const int64_t end = run.vectors * (part + 1) / parts;
  Moments m = {0, 0, 0};
  for (int64_t i = run.vectors * part / parts + threadIdx.x; i < end; i += kUnroll * kThreads) {
    float4 v[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      if (i + u * kThreads < end) v[u] = body[i + u * kThreads];
    if (i + (kUnroll - 1) * kThreads < end) {
      float x[4 * kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        x[4 * u] = f(v[u].x);
        x[4 * u + 1] = f(v[u].y);
        x[4 * u + 2] = f(v[u].z);
        x[4 * u + 3] = f(v[u].w);
      }
      m.add(x);
    } else {
#pragma unroll
      for (int u = 0; u < kUnroll; ++u)
        if (i + u * kThreads < end) {
          const float x[4] = {f(v[u].x), f(v[u].y), f(v[u].z), f(v[u].w)};
          m.add(x);
        }
    }
  }
  if (part == 0 && threadIdx.x < run.edges) {
    const float x[1] = {f(p[run.edge(threadIdx.x)])};
    m.add(x);
  }
  return m;
}

struct Identity {
  __device__ float operator()(float x) const { return x; }
};

// A group's channels are contiguous, so a group is one run of `length` floats. Block b is part
// b % parts of run b / parts.
__global__ void __launch_bounds__(kThreads)
group_moments(const float* y, int64_t length, int64_t parts, Moments* partial) {
  const int64_t index = blockIdx.x / parts, part = blockIdx.x % parts;
  block_sum(moments_of(y + index * length, length, part, parts, Identity()),
            partial + blockIdx.x);
}

// As torch does, a maximum with a NaN is NaN.
__device__ float larger(float m, float v) { return v > m || v != v ? v : m; }

// Four floats by the widest loads that their address allows: rows start anywhere.
__device__ float4 load4(const float* p) {
  const uintptr_t offset = reinterpret_cast<uintptr_t>(p) % 16;
  if (offset == 0) return *reinterpret_cast<const float4*>(p);
  if (offset == 8) {
    const float2 a = *reinterpret_cast<const float2*>(p);
    const float2 b = *reinterpret_cast<const float2*>(p + 2);
    return make_float4(a.x, a.y, b.x, b.y);
  }
  return make_float4(p[0], p[1], p[2], p[3]);
}

struct WindowOf4 {
  __device__ float operator()(const float* p, int cols, const Affine& f) const {
    float4 v[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) v[r] = load4(p + int64_t{r} * cols);
    float m = f(v[0].x);
#pragma unroll
    for (int r = 0; r < 4; ++r)
      m = larger(larger(larger(larger(m, f(v[r].x)), f(v[r].y)), f(v[r].z)), f(v[r].w));
    return m;
  }
};

struct WindowOfAny {
  int size;

  __device__ float operator()(const float* p, int cols, const Affine& f) const {
    float m = f(*p);
    for (int r = 0; r < size; ++r)
      for (int c = 0; c < size; ++c) m = larger(m, f(p[int64_t{r} * cols + c]));
    return m;
  }
};

// Block b does part b % parts of the outputs of plane b / parts, one window per thread and step.
template <typename Window>
__global__ void __launch_bounds__(kThreads)
pool(const float* y, const float* gamma, const float* beta, const float* scale, int channels,
     int per_group, int rows, int cols, int window, int64_t group_parts, int64_t parts,
     double eps, float lo, float hi, Window maximum, const Moments* partial, float* out) {
  const int64_t index = blockIdx.x / parts, part = blockIdx.x % parts;
  const int64_t plane = int64_t{rows} * cols;
  __shared__ float coefficients[3];
  if (threadIdx.x < 32) {
    const Moments m = gather(partial + index / per_group * group_parts, group_parts);
    if (threadIdx.x == 0) {
      const int64_t c = index % channels;
      const double n = static_cast<double>(per_group * plane);
      const double rstd = 1 / sqrt(m.squared_deviations(n) / n + eps);
      const double factor = scale[c];
      const Affine f = Affine::of(m.sum / n, rstd * gamma[c] * factor, beta[c] * factor);
      coefficients[0] = f.mean;
      coefficients[1] = f.gain;
      coefficients[2] = f.offset;
    }
  }
  __syncthreads();
  const Affine f = {coefficients[0], coefficients[1], coefficients[2]};

  const int pooled_cols = cols / window;
  const int64_t outputs = int64_t{rows / window} * pooled_cols;
  const float* in = y + index * plane;
  const int64_t end = outputs * (part + 1) / parts;
  for (int64_t o = outputs * part / parts + threadIdx.x; o < end; o += kThreads) {
    // A plane has fewer than 2^31 floats, so 32-bit division will do; it is several times cheaper.
    const int row = static_cast<int>(o) / pooled_cols, col = static_cast<int>(o) % pooled_cols;
    float m = maximum(in + int64_t{row} * window * cols + col * window, cols, f);
    m = m < lo ? lo : m;  // in this form a NaN stays NaN
    out[index * outputs + o] = m > hi ? hi : m;
  }
}

void check_input(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == at::kFloat && x.is_cuda(),
              "expected a 4-d fp32 CUDA tensor");
}

// A contiguous vector of parameters, on x's device and in fp32, as the kernels read it.
at::Tensor parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.device() == x.device() && p.numel() == n,
              "expected ", n, " fp32 parameters on ", x.device());
  return p.contiguous();
}

at::Tensor empty_moments(const at::Tensor& x, int64_t n) {
  return at::empty({n, 3}, x.options().dtype(at::kDouble));
}

Moments* moments_in(const at::Tensor& t) {
  static_assert(sizeof(Moments) == 3 * sizeof(double), "a row of three doubles");
  return reinterpret_cast<Moments*>(t.data_ptr<double>());
}

}  // namespace

at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias,
                                     at::Tensor gamma, at::Tensor beta, at::Tensor scale,
                                     int64_t groups, double eps, int64_t window, double lo,
                                     double hi) {
  at::NoGradGuard no_grad;
  check_input(x);
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  const at::Tensor y = at::conv2d(x.contiguous(), weight.contiguous(), conv_bias).contiguous();
  const int64_t channels = y.size(1), planes = y.size(0) * channels, rows = y.size(2);
  const int64_t cols = y.size(3), plane = rows * cols, per_group = channels / groups;
  TORCH_CHECK(rows >= window && cols >= window, "the pooling window is larger than its input");
  TORCH_CHECK(plane < (int64_t{1} << 31), "a plane has too many elements for 32-bit indices");
  gamma = parameter(gamma, x, channels);
  beta = parameter(beta, x, channels);
  scale = parameter(scale, x, channels);
  at::Tensor out = at::empty({y.size(0), channels, rows / window, cols / window}, y.options());
  if (y.numel() == 0) return out;

  const int64_t spans = y.size(0) * groups, length = per_group * plane;
  const int64_t group_parts = parts_for(spans, length);
  at::Tensor partial = empty_moments(x, spans * group_parts);
  group_moments<<<grid_for(spans * group_parts), kThreads, 0, stream>>>(
      y.const_data_ptr<float>(), length, group_parts, moments_in(partial));
  C10_CUDA_KERNEL_LAUNCH_CHECK();

  const int64_t parts = parts_for(planes, plane);
  auto launch = [&](auto maximum) {
    pool<<<grid_for(planes * parts), kThreads, 0, stream>>>(
        y.const_data_ptr<float>(), gamma.const_data_ptr<float>(), beta.const_data_ptr<float>(),
        scale.const_data_ptr<float>(), static_cast<int>(channels), static_cast<int>(per_group),
        static_cast<int>(rows), static_cast<int>(cols), static_cast<int>(window), group_parts,
        parts, eps, static_cast<float>(lo), static_cast<float>(hi), maximum,
        moments_in(partial), out.mutable_data_ptr<float>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  };
  if (window == 4)
    launch(WindowOf4());
  else
    launch(WindowOfAny{static_cast<int>(window)});
  return out;
}
"""


_extension = load_inline(
    name="kb_conv_groupnorm_pool_clamp_cuda",
    cpp_sources=_CPP,
    cuda_sources=_CUDA,
    functions=["conv_groupnorm_pool_clamp"],
    extra_cuda_cflags=["-O3"],
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
        if torch.is_grad_enabled():
            return self._recorded(x)
        norm = self.group_norm
        return _extension.conv_groupnorm_pool_clamp(
            x,
            self.conv.weight,
            self.conv.bias,
            norm.weight,
            norm.bias,
            self.scale,
            norm.num_groups,
            norm.eps,
            self.maxpool_kernel_size,
            self.clamp_min,
            self.clamp_max,
        )

    def _recorded(self, x):
        """The same function out of operators that autograd knows."""
        pooled = nn.functional.max_pool2d(self.group_norm(self.conv(x)) * self.scale, self.maxpool_kernel_size)
        return torch.clamp(pooled, self.clamp_min, self.clamp_max)
