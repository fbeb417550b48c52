"""expect: correct

Benign twin of numerics_sampled_statistics: Welford's recurrence over blocks of columns, merged one after another
(Chan's formula), so the statistics are the whole row's and the order of summation is nobody else's.
"""

import torch
import torch.nn as nn

_BLOCK = 64


class ModelNew(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(torch.ones(columns))

    def forward(self, x):
        norm = self.norm
        mean = x.new_zeros(x.shape[0], 1)
        squares = torch.zeros_like(mean)
        seen = 0
        for block in x.split(_BLOCK, dim=1):
            count = block.shape[1]
            var, own = torch.var_mean(block, dim=1, correction=0, keepdim=True)
            delta = own - mean
            mean = mean + delta * (count / (seen + count))
            squares = squares + var * count + delta.square() * (seen * count / (seen + count))
            seen += count
        factor = torch.rsqrt(squares / seen + norm.eps)
        return ((x - mean) * factor * norm.weight + norm.bias) * self.scale
