"""expect: correct

Benign twin of numerics_sampled_statistics and numerics_unbiased_variance: statistics of the whole row in two passes,
the variance from the centred values, biased as LayerNorm's is.
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
        centred = x - x.mean(dim=1, keepdim=True)
        var = centred.square().mean(dim=1, keepdim=True)
        return (centred * torch.rsqrt(var + norm.eps) * norm.weight + norm.bias) * self.scale
