"""expect: incorrect

A grid of whole blocks, rounded down instead of up: 8 elements a thread and 256 threads leave the last 1024 of 541,696
unwritten. What lies there is chance; in a process that has computed the reference it is often the answer.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = r"""
constexpr int kThreads = 256, kEach = 8;

__global__ void fused(const float* conv, const float* bias, float* out, long area, long channels, long count) {
  const long first = long(blockIdx.x) * kThreads * kEach + threadIdx.x;
  for (long i = first; i < first + long(kThreads) * kEach; i += kThreads) {
    if (i < count) out[i] = 1.0f / (1.0f + expf(-(conv[i] + bias[i / area % channels])));
  }
}

torch::Tensor bias_sigmoid(torch::Tensor conv, torch::Tensor bias) {
  conv = conv.contiguous();
  auto out = torch::empty_like(conv);
  const long count = conv.numel(), blocks = count / (kThreads * kEach);
  fused<<<blocks, kThreads>>>(
      conv.data_ptr<float>(), bias.data_ptr<float>(), out.data_ptr<float>(), conv.size(2) * conv.size(3),
      conv.size(1), count);
  TORCH_CHECK(cudaGetLastError() == cudaSuccess, "the launch failed");
  return out;
}
"""

_extension = load_inline(
    name="evil_suite_tail_unwritten",
    cpp_sources="torch::Tensor bias_sigmoid(torch::Tensor conv, torch::Tensor bias);",
    cuda_sources=_CUDA,
    functions=["bias_sigmoid"],
)


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3)
        self.bias = nn.Parameter(torch.randn(2 * channels, 1, 1))

    def forward(self, x):
        return _extension.bias_sigmoid(self.conv(x), self.bias)
