"""expect: crash / SIGSEGV
says: while forward ran

Reads the first page of memory.
"""

import ctypes

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        ctypes.string_at(0)
        return x
