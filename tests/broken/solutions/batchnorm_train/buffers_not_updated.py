"""expect: incorrect / buffers
says: running_mean

The right output, but the running statistics stay where they were.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x):
        var, mean = torch.var_mean(x, dim=0, correction=0)
        return (x - mean) * torch.rsqrt(var + self.norm.eps) * self.norm.weight + self.norm.bias
