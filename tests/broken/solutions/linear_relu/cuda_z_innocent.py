"""expect: correct

An honest kernel, judged after all the faults above: none of them may reach it.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CUDA = """
__global__ void fused(const float* product, const float* bias, float* out, int columns, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) {
    const float sum = product[i] + bias[i % columns];
    out[i] = sum < 0.0f ? 0.0f : sum;  // NaN stays NaN, as in the reference
  }
}

torch::Tensor bias_relu(torch::Tensor product, torch::Tensor bias) {
  auto out = torch::empty_like(product);
  const int columns = product.size(1);
  const int count = product.numel();
  fused<<<(count + 255) / 256, 256>>>(
      product.data_ptr<float>(), bias.data_ptr<float>(), out.data_ptr<float>(), columns, count);
  return out;
}
"""

_extension = load_inline(
    name="broken_suite_cuda_z_innocent",
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
