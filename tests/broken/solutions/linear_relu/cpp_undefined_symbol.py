"""expect: load_error / import
says: nowhere_defined

Compiles and links, as a shared library may with a symbol missing, and cannot be loaded.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = """
extern "C" int nowhere_defined();
extern "C" int answer() { return nowhere_defined(); }
extern "C" int (*const kept)() = &nowhere_defined;
"""

_extension = load_inline(  # <- here
    name="broken_suite_undefined_symbol", cpp_sources=_CPP, no_implicit_headers=True, is_python_module=False
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
