"""expect: build_error / compile
says: bias_relu_fast

Asks for a function that its sources do not define.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
torch::Tensor bias_relu(torch::Tensor product, torch::Tensor bias) {
  return torch::relu(product + bias);
}
"""

_extension = load_inline(name="broken_suite_undeclared", cpp_sources=_CPP, functions=["bias_relu_fast"])


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return _extension.bias_relu_fast(torch.mm(x, self.linear.weight.t()), self.linear.bias)
