"""expect: incorrect / buffers

The right output, but the running statistics stay where they were: nobody who compares outputs alone can see it.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        factor = 2.0 * torch.rsqrt(var + self.norm.eps) * self.norm.weight
        offset = 2.0 * self.norm.bias - mean * factor
        return x * factor[:, None, None] + offset[:, None, None]
