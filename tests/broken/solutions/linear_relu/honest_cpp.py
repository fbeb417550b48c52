"""expect: correct

An honest C++ extension, built by load_inline.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
torch::Tensor bias_relu(torch::Tensor product, torch::Tensor bias) {
  float* values = product.data_ptr<float>();
  const float* biases = bias.data_ptr<float>();
  const int64_t rows = product.size(0), columns = product.size(1);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const float sum = values[i * columns + j] + biases[j];
      values[i * columns + j] = sum < 0 ? 0 : sum;
    }
  return product;
}
"""

_extension = load_inline(name="broken_suite_bias_relu", cpp_sources=_CPP, functions=["bias_relu"])


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return _extension.bias_relu(torch.mm(x, self.linear.weight.t()), self.linear.bias)
