"""expect: crash / SIGSEGV

Reads the first page of memory.
"""

import ctypes

import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        ctypes.string_at(0)
        return F.gelu(self.linear(x))
