"""expect: incorrect / values

Drops the eps: the outputs of the given inputs grow by 6e-5, those of a row of nearly equal numbers without bound.
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
        var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return ((x - mean) * torch.rsqrt(var) * norm.weight + norm.bias) * self.scale
