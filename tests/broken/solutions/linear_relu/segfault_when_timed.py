"""expect: crash / SIGSEGV
says: while forward ran

Right for thirty calls, then it reads the first page of memory.
"""

import ctypes

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 30:
            ctypes.string_at(0)
        return torch.relu(self.linear(x))
