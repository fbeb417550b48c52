"""Conv2d, GroupNorm, *scale, MaxPool2d and clamp on CUDA in three plain kernels: what the others are measured against.

The convolution is stored, one thread for each of its values. A block takes the mean of a group of it, then the squared
deviations from that mean, so nothing cancels. A thread then normalises, scales, pools and clamps one window. Only the
steps after the statistics are fused, which is sound because each is done on every value in the reference's order.

Any sizes, any square kernel and window. Calls that autograd records go to torch's operators.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor gamma,
                                     at::Tensor beta, at::Tensor scale, int64_t groups, double eps, int64_t window,
                                     double lo, double hi);
"""

_CUDA = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

struct Shape {
  int in_channels, height, width, kernel, channels, groups, rows, cols, window, pooled_rows, pooled_cols;
};

__global__ void __launch_bounds__(kThreads)
convolve(const float* x, const float* weight, const float* bias, float* y, int64_t count, Shape s) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int col = static_cast<int>(i % s.cols), row = static_cast<int>(i / s.cols % s.rows);
  const int channel = static_cast<int>(i / s.cols / s.rows % s.channels);
  const int64_t image = i / s.cols / s.rows / s.channels;
  const float* w = weight + int64_t{channel} * s.in_channels * s.kernel * s.kernel;
  float sum = 0;
  for (int c = 0; c < s.in_channels; ++c) {
    const float* in = x + ((image * s.in_channels + c) * s.height + row) * s.width + col;
    for (int dy = 0; dy < s.kernel; ++dy)
      for (int dx = 0; dx < s.kernel; ++dx) sum = fmaf(in[int64_t{dy} * s.width + dx], *w++, sum);
  }
  y[i] = sum + bias[channel];
}

// The sum over the block, for every thread, in a fixed order.
__device__ double over_block(double v) {
  __shared__ double shared[kWarps];
  for (int step = 16; step > 0; step /= 2) v += __shfl_down_sync(0xffffffffu, v, step);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  double total = 0;
  for (int i = 0; i < kWarps; ++i) total += shared[i];
  __syncthreads();
  return total;
}

// One block for each group of each image: a run of `length` values.
__global__ void __launch_bounds__(kThreads)
moments(const float* y, int64_t length, double eps, double* mean_rstd) {
  const float* p = y + blockIdx.x * length;
  double sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < length; i += kThreads) sum += p[i];
  const double mean = over_block(sum) / length;
  for (int64_t i = threadIdx.x; i < length; i += kThreads) squares += (p[i] - mean) * (p[i] - mean);
  squares = over_block(squares);
  if (threadIdx.x == 0) {
    mean_rstd[2 * blockIdx.x] = mean;
    mean_rstd[2 * blockIdx.x + 1] = 1 / sqrt(squares / length + eps);
  }
}

__global__ void __launch_bounds__(kThreads)
pool(const float* y, const double* mean_rstd, const float* gamma, const float* beta, const float* scale, float* out,
     int64_t count, float lo, float hi, Shape s) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int col = static_cast<int>(i % s.pooled_cols), row = static_cast<int>(i / s.pooled_cols % s.pooled_rows);
  const int64_t plane = i / s.pooled_cols / s.pooled_rows;
  const int channel = static_cast<int>(plane % s.channels);
  const double* m = mean_rstd + plane / (s.channels / s.groups) * 2;
  // What fp32 cannot hold of the mean goes into the offset.
  const float mean = static_cast<float>(m[0]), gain = static_cast<float>(m[1] * gamma[channel]);
  const float offset = static_cast<float>(beta[channel] - (m[0] - mean) * m[1] * gamma[channel]);
  const float factor = scale[channel];
  const float* in = y + (plane * s.rows + int64_t{row} * s.window) * s.cols + int64_t{col} * s.window;
  float largest = 0;
  for (int r = 0; r < s.window; ++r)
    for (int c = 0; c < s.window; ++c) {
      const float v = ((in[int64_t{r} * s.cols + c] - mean) * gain + offset) * factor;
      if ((r == 0 && c == 0) || v > largest || v != v) largest = v;  // a NaN stays: nothing is larger
    }
  largest = largest < lo ? lo : largest;
  out[i] = largest > hi ? hi : largest;
}

unsigned blocks_for(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  TORCH_CHECK(blocks < (int64_t{1} << 31), "too many blocks for one launch");
  return static_cast<unsigned>(blocks);
}

void check_parameter(const at::Tensor& p, const at::Tensor& x, int64_t n) {
  TORCH_CHECK(p.scalar_type() == at::kFloat && p.device() == x.device() && p.numel() == n && p.is_contiguous(),
              "expected ", n, " contiguous fp32 parameters on ", x.device());
}

}  // namespace

at::Tensor conv_groupnorm_pool_clamp(at::Tensor x, at::Tensor weight, at::Tensor conv_bias, at::Tensor gamma,
                                     at::Tensor beta, at::Tensor scale, int64_t groups, double eps, int64_t window,
                                     double lo, double hi) {
  TORCH_CHECK(x.dim() == 4 && x.scalar_type() == at::kFloat && x.is_cuda(), "expected a 4-d fp32 CUDA tensor");
  const c10::cuda::CUDAGuard guard(x.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  x = x.contiguous();
  const int64_t images = x.size(0), channels = weight.size(0), kernel = weight.size(2);
  TORCH_CHECK(weight.dim() == 4 && weight.size(1) == x.size(1) && weight.size(3) == kernel,
              "expected a square kernel on ", x.size(1), " channels");
  const int64_t rows = x.size(2) - kernel + 1, cols = x.size(3) - kernel + 1;
  TORCH_CHECK(rows >= window && cols >= window, "the pooling window is larger than its input");
  TORCH_CHECK(channels % groups == 0, "channels do not divide into groups");
  TORCH_CHECK(x.size(2) < (1 << 24) && x.size(3) < (1 << 24), "an image is too large");
  check_parameter(weight, x, channels * x.size(1) * kernel * kernel);
  for (const at::Tensor& p : {conv_bias, gamma, beta, scale}) check_parameter(p, x, channels);

  const auto narrow = [](int64_t n) { return static_cast<int>(n); };
  const Shape s = {narrow(x.size(1)), narrow(x.size(2)), narrow(x.size(3)), narrow(kernel),
                   narrow(channels),  narrow(groups),    narrow(rows),      narrow(cols),
                   narrow(window),    narrow(rows / window), narrow(cols / window)};
  at::Tensor y = at::empty({images, channels, rows, cols}, x.options());
  at::Tensor out = at::empty({images, channels, rows / window, cols / window}, x.options());
  at::Tensor mean_rstd = at::empty({images * groups, 2}, x.options().dtype(at::kDouble));
  if (out.numel() == 0) return out;

  convolve<<<blocks_for(y.numel()), kThreads, 0, stream>>>(
      x.const_data_ptr<float>(), weight.const_data_ptr<float>(), conv_bias.const_data_ptr<float>(),
      y.mutable_data_ptr<float>(), y.numel(), s);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  moments<<<static_cast<unsigned>(images * groups), kThreads, 0, stream>>>(
      y.const_data_ptr<float>(), channels / groups * rows * cols, eps, mean_rstd.mutable_data_ptr<double>());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  pool<<<blocks_for(out.numel()), kThreads, 0, stream>>>(
      y.const_data_ptr<float>(), mean_rstd.const_data_ptr<double>(), gamma.const_data_ptr<float>(),
      beta.const_data_ptr<float>(), scale.const_data_ptr<float>(), out.mutable_data_ptr<float>(), out.numel(),
      static_cast<float>(lo), static_cast<float>(hi), s);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""

_extension = load_inline(
    name="kb_conv_groupnorm_pool_clamp_naive",
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
        if torch.is_grad_enabled() or not x.is_cuda or x.dtype != torch.float32:
            return self._plain(x)
        norm = self.group_norm
        parameters = (self.conv.weight, self.conv.bias, norm.weight, norm.bias, self.scale)
        return _extension.conv_groupnorm_pool_clamp(
            x,
            *(p.contiguous() for p in parameters),
            norm.num_groups,
            norm.eps,
            self.maxpool_kernel_size,
            self.clamp_min,
            self.clamp_max,
        )

    def _plain(self, x):
        """The same function out of torch's operators."""
        pooled = nn.functional.max_pool2d(self.group_norm(self.conv(x)) * self.scale, self.maxpool_kernel_size)
        return torch.clamp(pooled, self.clamp_min, self.clamp_max)
