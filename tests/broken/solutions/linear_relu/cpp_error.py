"""expect: build_error / compile
says: missing

A C++ source with an error at a line of its own.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
extern "C" int answer() {
  return 41 + missing;  // <- here
}
"""

_extension = load_inline(name="broken_suite_cpp_error", cpp_sources=_CPP, no_implicit_headers=True)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
