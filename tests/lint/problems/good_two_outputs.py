"""expect: clean

A tuple of two outputs, one of them of integers.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return x.max(1)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
