"""expect: incorrect | runtime_error

Launches with more threads than a block may have and never asks whether that worked: the output is unwritten memory.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void fused(const float* product, const float* bias, float* out, int columns, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = fmaxf(product[i] + bias[i % columns], 0.0f);
}

torch::Tensor bias_relu(torch::Tensor product, torch::Tensor bias) {
  auto out = torch::empty_like(product);
  const int columns = product.size(1);
  const int count = product.numel();
  fused<<<(count + 4095) / 4096, 4096>>>(
      product.data_ptr<float>(), bias.data_ptr<float>(), out.data_ptr<float>(), columns, count);
  return out;
}
"""

_extension = load_inline(
    name="broken_suite_cuda_launch_failure_ignored",
    cpp_sources="torch::Tensor bias_relu(torch::Tensor product, torch::Tensor bias);",
    cuda_sources=_CUDA,
    functions=["bias_relu"],
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return _extension.bias_relu(torch.mm(x, self.linear.weight.t()), self.linear.bias)
