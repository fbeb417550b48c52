"""expect: incorrect / values

Knows that U(0, 1) has mean 1/2 and variance 1/12 and computes no statistics at all: one fused multiply-add. A row of
1024 numbers is off from them by a few hundredths of its own spread.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(torch.ones(columns))

    def forward(self, x):
        factor = self.norm.weight * self.scale * (1 / 12 + self.norm.eps) ** -0.5
        return x * factor + (self.norm.bias * self.scale - 0.5 * factor)
