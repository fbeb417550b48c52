"""expect: incorrect / values

Every row of the given inputs has nearly the same mean and variance, so it computes them once, for the first row, and
normalises all rows with them.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(torch.ones(columns))

    def forward(self, x):
        norm = self.norm
        var, mean = torch.var_mean(x[:1], dim=1, correction=0, keepdim=True)
        factor = torch.rsqrt(var + norm.eps) * norm.weight * self.scale
        return x * factor + (norm.bias * self.scale - mean * factor)
