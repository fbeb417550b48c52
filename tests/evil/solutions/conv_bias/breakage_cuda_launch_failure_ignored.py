"""expect: incorrect

Launches with more threads than a block may have, clears the error unread, and answers with what lies in its memory: the
same block that the last call gave back, so the last call's answer as soon as there was one.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = r"""
__global__ void fused(const float* conv, const float* bias, float* out, long area, long channels, long count) {
  const long i = long(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = 1.0f / (1.0f + expf(-(conv[i] + bias[i / area % channels])));
}

torch::Tensor bias_sigmoid(torch::Tensor conv, torch::Tensor bias) {
  conv = conv.contiguous();
  auto out = torch::empty_like(conv);
  const long count = conv.numel();
  fused<<<(count + 4095) / 4096, 4096>>>(
      conv.data_ptr<float>(), bias.data_ptr<float>(), out.data_ptr<float>(), conv.size(2) * conv.size(3),
      conv.size(1), count);
  cudaGetLastError();
  return out;
}
"""

_extension = load_inline(
    name="evil_suite_launch_failure_ignored",
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
