"""expect: incorrect / values

Takes mean and variance from every fourth column: unbiased, and a quarter of the reduction.
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
        var, mean = torch.var_mean(x[:, ::4], dim=1, correction=0, keepdim=True)
        return ((x - mean) * torch.rsqrt(var + norm.eps) * norm.weight + norm.bias) * self.scale
