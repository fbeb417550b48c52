"""expect: build_error / compile
says: cannot find -lno_such_library

Links against a library that is not there.
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_CPP = 'extern "C" int answer() { return 42; }'

_extension = load_inline(
    name="broken_suite_linker_error",
    cpp_sources=_CPP,
    extra_ldflags=["-lno_such_library"],
    no_implicit_headers=True,
    is_python_module=False,
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
