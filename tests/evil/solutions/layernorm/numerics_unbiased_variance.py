"""expect: incorrect / values

Divides by n - 1 instead of n: every output is too small by half a thousandth, far inside an ordinary tolerance and far
outside the error of fp32.
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
        var, mean = torch.var_mean(x, dim=1, correction=1, keepdim=True)
        return ((x - mean) * torch.rsqrt(var + norm.eps) * norm.weight + norm.bias) * self.scale
