"""expect: nonfinite

The root of a negative number, everywhere.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.sqrt(-1 - x * x)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
