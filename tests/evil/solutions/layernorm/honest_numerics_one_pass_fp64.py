"""expect: correct

Benign twin of numerics_analytic_uniform: E[x^2] - E[x]^2 from one pass, accumulated in fp64, where the cancellation
costs nothing that fp32 could see.
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
        wide = x.double()
        mean = wide.mean(dim=1, keepdim=True)
        var = (wide.square().mean(dim=1, keepdim=True) - mean.square()).clamp(min=0.0)
        normal = ((wide - mean) * torch.rsqrt(var + norm.eps)).float()
        return (normal * norm.weight + norm.bias) * self.scale
