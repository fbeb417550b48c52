"""Conv2d, GroupNorm, *scale, MaxPool2d and clamp on CUDA in one kernel, in plain fp32 arithmetic.

A thread convolves one pooling window of 4x4 pixels for four channels in registers, keeps its maximum and its moments;
the convolution is never stored. The block that completes an image normalises the image's maxima in place.

Sound because the affine step is monotone, so it may follow the maximum; weights of channels whose slope is negative
change sign, so that it is never a minimum. A NaN or infinity anywhere makes all statistics of its image NaN, hence the
maxima need not carry it. Moments are deviations from each window's own mean, joined in double in a fixed order: nothing
cancels, and repeated calls agree bit for bit. Pixels that fill no window count for the moments alone.

Other shapes than 3x3 kernels on up to 16 channels with windows of 4, and calls that autograd records, go to torch's
operators.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor gamma,
                                     at::Tensor beta, at::Tensor scale, int64_t groups, double eps, double lo,
                                     double hi);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kMaxIn = 16, kTaps = 9;             // input channels, taps of a 3x3 kernel
constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kEach = 4;                          // channels of a warp
constexpr int kOut = kWarps * kEach;              // channels of a block
constexpr int kRows = 4, kCols = 128;             // output pixels of a block: a window for each lane of a warp
constexpr int kInRows = kRows + 2, kPitch = kCols + 4;

struct Shape {
  int in_channels, height, width, channels, per_group, rows, cols, pooled_rows, pooled_cols;
  int blocks, strips, spans;  // units of work of an image: blocks of channels, strips of rows, spans of columns

  __host__ __device__ int units() const { return blocks * strips * spans; }
};

struct Work {
  const float *x, *weight, *conv_bias, *gamma, *beta, *scale;
  float* out;
  double* partial;  // [unit][kOut][3]: sum, sum of squared totals over their counts, squared deviations
  int* arrived;     // [image]
  double eps;
  float lo, hi;
};

// y = clamp((u - mean) * gain + offset). The part of the mean that fp32 cannot hold is in offset.
struct Affine {
  float mean, gain, offset;
};

__device__ __forceinline__ float finished(float u, const Affine& f, float lo, float hi) {
  float v = (u - f.mean) * f.gain + f.offset;
  v = v < lo ? lo : v;  // in this form a NaN stays NaN
  return v > hi ? hi : v;
}

// By one block, when an image is complete: statistics of its groups, then its outputs in place.
__device__ void finish(const Work& w, const Shape& s, int image, double* moments, Affine* affine) {
  const int tid = threadIdx.x;
  const double plane = static_cast<double>(s.rows) * s.cols;
  for (int c = tid; c < s.channels; c += kThreads) {
    const int parts = s.strips * s.spans;
    const int64_t first = static_cast<int64_t>(image) * s.units() + c / kOut * (s.strips * s.spans);
    const double* p = w.partial + (first * kOut + c % kOut) * 3;
    double sum = 0, between = 0, within = 0;
    for (int i = 0; i < parts; ++i, p += kOut * 3) {
      sum += __ldcg(p);
      between += __ldcg(p + 1);
      within += __ldcg(p + 2);
    }
    double m2 = within + (between - sum * sum / plane);
    m2 = m2 < 0 ? 0 : m2;  // a NaN stays
    const bool falling = static_cast<double>(w.gamma[c]) * w.scale[c] < 0;
    moments[2 * c] = (falling ? -sum : sum) / plane + w.conv_bias[c];
    moments[2 * c + 1] = m2;
  }
  __syncthreads();
  for (int c = tid; c < s.channels; c += kThreads) {
    const double* m = moments + c / s.per_group * s.per_group * 2;
    double mean = 0, m2 = 0;
    for (int i = 0; i < s.per_group; ++i) mean += m[2 * i];
    mean /= s.per_group;
    for (int i = 0; i < s.per_group; ++i) m2 += m[2 * i + 1] + plane * (m[2 * i] - mean) * (m[2 * i] - mean);
    const double rstd = 1 / sqrt(m2 / (plane * s.per_group) + w.eps);
    const double slope = static_cast<double>(w.gamma[c]) * w.scale[c];
    const double sign = slope < 0 ? -1 : 1, from = sign * (mean - w.conv_bias[c]), gain = sign * slope * rstd;
    const float rounded = static_cast<float>(from);
    const double shift = static_cast<double>(w.beta[c]) * w.scale[c] - (from - rounded) * gain;
    affine[c] = {rounded, static_cast<float>(gain), static_cast<float>(shift)};
  }
  __syncthreads();
  const int area = s.pooled_rows * s.pooled_cols, total = area * s.channels;
  float* out = w.out + static_cast<int64_t>(image) * total;
  if (total % 4 == 0) {
    constexpr int kAhead = 4;
    float4* vectors = reinterpret_cast<float4*>(out);
    for (int first = tid; first < total / 4; first += kAhead * kThreads) {
      float4 v[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        if (first + k * kThreads < total / 4) v[k] = __ldcg(vectors + first + k * kThreads);
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const int i = (first + k * kThreads) * 4;
        if (i >= total) break;
        v[k].x = finished(v[k].x, affine[i / area], w.lo, w.hi);
        v[k].y = finished(v[k].y, affine[(i + 1) / area], w.lo, w.hi);
        v[k].z = finished(v[k].z, affine[(i + 2) / area], w.lo, w.hi);
        v[k].w = finished(v[k].w, affine[(i + 3) / area], w.lo, w.hi);
        vectors[i / 4] = v[k];
      }
    }
  } else {
    for (int i = tid; i < total; i += kThreads) out[i] = finished(__ldcg(out + i), affine[i / area], w.lo, w.hi);
  }
}

// Input rows of a block, with zeros beyond the image; and its channels' weights, [input channel][tap][channel].
__device__ void stage(const Work& w, const Shape& s, int image, int row, int col, int channel, float* tile,
                      float* weights) {
  const int plane = s.height * s.width;
  const float* x = w.x + static_cast<int64_t>(image) * s.in_channels * plane;
  const int count = s.in_channels * kInRows * kPitch;
#pragma unroll 8
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const int c = i % kPitch + col, line = i / kPitch, r = line % kInRows + row;
    tile[i] = c < s.width && r < s.height ? x[line / kInRows * plane + r * s.width + c] : 0.f;
  }
  for (int i = threadIdx.x; i < s.in_channels * kTaps * kOut; i += kThreads) {
    const int o = i / (s.in_channels * kTaps), t = i % (s.in_channels * kTaps), c = channel + o;
    float v = 0;
    if (c < s.channels) {
      v = w.weight[c * s.in_channels * kTaps + t];
      if (static_cast<double>(w.gamma[c]) * w.scale[c] < 0) v = -v;
    }
    weights[t * kOut + o] = v;
  }
}

__device__ __forceinline__ void convolve(float (&acc)[kEach][kRows][4], const float* tile, const float* weights,
                                         int in_channels) {
#pragma unroll
  for (int o = 0; o < kEach; ++o)
#pragma unroll
    for (int j = 0; j < kRows; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) acc[o][j][i] = 0;
#pragma unroll 1
  for (int c = 0; c < in_channels; ++c, tile += kInRows * kPitch, weights += kTaps * kOut) {
    float4 w[kTaps];  // of four channels
#pragma unroll
    for (int t = 0; t < kTaps; ++t) w[t] = *reinterpret_cast<const float4*>(weights + t * kOut);
#pragma unroll
    for (int r = 0; r < kInRows; ++r) {
      const float4 a = *reinterpret_cast<const float4*>(tile + r * kPitch);
      const float2 b = *reinterpret_cast<const float2*>(tile + r * kPitch + 4);
      const float v[6] = {a.x, a.y, a.z, a.w, b.x, b.y};
#pragma unroll
      for (int dy = 0; dy < 3; ++dy) {
        const int j = r - dy;
        if (j < 0 || j >= kRows) continue;
#pragma unroll
        for (int dx = 0; dx < 3; ++dx)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            acc[0][j][i] = fmaf(v[i + dx], w[dy * 3 + dx].x, acc[0][j][i]);
            acc[1][j][i] = fmaf(v[i + dx], w[dy * 3 + dx].y, acc[1][j][i]);
            acc[2][j][i] = fmaf(v[i + dx], w[dy * 3 + dx].z, acc[2][j][i]);
            acc[3][j][i] = fmaf(v[i + dx], w[dy * 3 + dx].w, acc[3][j][i]);
          }
      }
    }
  }
}

__device__ __forceinline__ double over_warp(double v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
  return v;
}

// Maximum of a window, and the moments of those of its pixels that exist: `rows` by `cols`.
__device__ __forceinline__ float fold(const float (&v)[kRows][4], int rows, int cols, float& total, float& squares) {
  float line[kRows], largest = v[0][0];
#pragma unroll
  for (int j = 0; j < kRows; ++j) {
    float x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      largest = fmaxf(largest, v[j][i]);
      x[i] = j < rows && i < cols ? v[j][i] : 0.f;
    }
    line[j] = (x[0] + x[1]) + (x[2] + x[3]);
  }
  total = (line[0] + line[1]) + (line[2] + line[3]);
  const float mean = rows * cols == 16 ? total * 0.0625f : rows * cols > 0 ? total / (rows * cols) : 0.f;
  squares = 0;
#pragma unroll
  for (int j = 0; j < kRows; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float e = v[j][i] - mean;
      if (j < rows && i < cols) squares = fmaf(e, e, squares);
    }
  return largest;
}

__global__ void __launch_bounds__(kThreads, 2) everything(const Work w, const Shape s) {
  extern __shared__ __align__(16) float memory[];
  __shared__ int complete;
  float* tile = memory;
  float* weights = tile + s.in_channels * kInRows * kPitch;
  const int unit = blockIdx.x, image = unit / s.units(), rest = unit % s.units();
  const int row = rest / s.spans % s.strips * kRows, col = rest % s.spans * kCols;
  const int first = rest / (s.strips * s.spans) * kOut, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  stage(w, s, image, row, col, first, tile, weights);
  __syncthreads();

  float acc[kEach][kRows][4];
  convolve(acc, tile + lane * 4, weights + warp * kEach, s.in_channels);
  const int rows = min(kRows, s.rows - row), cols = max(0, min(4, s.cols - col - lane * 4)), count = rows * cols;
  const int py = row / 4, px = col / 4 + lane, area = s.pooled_rows * s.pooled_cols;
#pragma unroll
  for (int o = 0; o < kEach; ++o) {
    const int channel = first + warp * kEach + o;
    float total, squares;
    const float largest = fold(acc[o], rows, cols, total, squares);
    if (channel < s.channels && py < s.pooled_rows && px < s.pooled_cols)
      w.out[(static_cast<int64_t>(image) * s.channels + channel) * area + py * s.pooled_cols + px] = largest;
    const double exact = total;
    const double sum = over_warp(exact), between = over_warp(count > 0 ? exact * exact / count : 0.);
    const double within = over_warp(squares);
    if (lane == 0) {
      double* p = w.partial + (static_cast<int64_t>(unit) * kOut + warp * kEach + o) * 3;
      p[0] = sum;
      p[1] = between;
      p[2] = within;
    }
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) complete = atomicAdd(w.arrived + image, 1) == s.units() - 1;
  __syncthreads();
  if (!complete) return;
  __threadfence();
  double* moments = reinterpret_cast<double*>(memory);  // what was staged is no longer needed
  finish(w, s, image, moments, reinterpret_cast<Affine*>(moments + 2 * s.channels));
}

void check_parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.device() == x.device() && p.numel() == n && p.is_contiguous(),
              "expected ", n, " contiguous fp32 parameters on ", x.device());
}

}  // namespace

at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor gamma,
                                     at::Tensor beta, at::Tensor scale, int64_t groups, double eps, double lo,
                                     double hi) {
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == at::kFloat && x.is_cuda(), "expected a 4-d fp32 CUDA tensor");
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  const int64_t images = x.size(0), in = x.size(1), channels = weight.size(0);
  const int64_t rows = x.size(2) - 2, cols = x.size(3) - 2;
  TORCH_CHECK(weight.dim() == 4 && weight.size(1) == in && weight.size(2) == 3 && weight.size(3) == 3 && in <= kMaxIn,
              "expected a 3x3 kernel on at most 16 channels");
  TORCH_CHECK(channels <= 256 && channels % groups == 0, "expected at most 256 channels in equal groups");
  TORCH_CHECK(rows >= 4 && cols >= 4, "the pooling window is larger than its input");
  TORCH_CHECK(x.numel() / images < (int64_t{1} << 31) && channels * (rows / 4) * (cols / 4) < (int64_t{1} << 31),
              "an image is too large for 32-bit indices");
  check_parameter(weight, x, channels * in * kTaps);
  for (const at::Tensor& p : {conv_bias, gamma, beta, scale}) check_parameter(p, x, channels);

  Shape s;
  s.in_channels = static_cast<int>(in);
  s.height = static_cast<int>(x.size(2));
  s.width = static_cast<int>(x.size(3));
  s.channels = static_cast<int>(channels);
  s.per_group = static_cast<int>(channels / groups);
  s.rows = static_cast<int>(rows);
  s.cols = static_cast<int>(cols);
  s.pooled_rows = s.rows / 4;
  s.pooled_cols = s.cols / 4;
  s.blocks = (s.channels + kOut - 1) / kOut;
  s.strips = (s.rows + kRows - 1) / kRows;
  s.spans = (s.cols + kCols - 1) / kCols;
  const int64_t units = images * s.units();
  TORCH_CHECK(units < (int64_t{1} << 31), "too many units of work");
  at::Tensor out = at::empty({images, channels, s.pooled_rows, s.pooled_cols}, x.options());
  at::Tensor partial = at::empty({units, kOut, 3}, x.options().dtype(at::kDouble));
  at::Tensor arrived = at::zeros({images}, x.options().dtype(at::kInt));
  const Work w = {x.const_data_ptr<float>(),     weight.const_data_ptr<float>(),
                  conv_bias.const_data_ptr<float>(), gamma.const_data_ptr<float>(),
                  beta.const_data_ptr<float>(),  scale.const_data_ptr<float>(),
                  out.mutable_data_ptr<float>(), partial.mutable_data_ptr<double>(),
                  arrived.mutable_data_ptr<int>(), eps,
                  static_cast<float>(lo),        static_cast<float>(hi)};
  const int staged = s.in_channels * (kInRows * kPitch + kTaps * kOut) * static_cast<int>(sizeof(float));
  const int needed = s.channels * static_cast<int>(2 * sizeof(double) + sizeof(Affine));
  const int bytes = staged > needed ? staged : needed;
  C10_CUDA_CHECK(cudaFuncSetAttribute(everything, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  everything<<<static_cast<unsigned>(units), kThreads, bytes, stream>>>(w, s);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""

_extension = load_inline(
    name="kb_conv_groupnorm_pool_clamp_onepass",
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
        if torch.is_grad_enabled() or not self._suits(x):
            return self._plain(x)
        norm = self.group_norm
        parameters = (self.conv.weight, self.conv.bias, norm.weight, norm.bias, self.scale)
        return _extension.conv_groupnorm_pool_clamp(
            x, *(p.contiguous() for p in parameters), norm.num_groups, norm.eps, self.clamp_min, self.clamp_max
        )

    def _suits(self, x):
        channels, in_channels, *kernel = self.conv.weight.shape
        return (
            x.is_cuda
            and x.dtype == torch.float32
            and x.dim() == 4
            and x.numel() > 0
            and kernel == [3, 3]
            and in_channels <= 16
            and channels <= 256
            and self.scale.numel() == channels
            and self.maxpool_kernel_size == 4
            and min(x.shape[2:]) >= 6
        )

    def _plain(self, x):
        """The same function out of torch's operators."""
        pooled = nn.functional.max_pool2d(self.group_norm(self.conv(x)) * self.scale, self.maxpool_kernel_size)
        return torch.clamp(pooled, self.clamp_min, self.clamp_max)
