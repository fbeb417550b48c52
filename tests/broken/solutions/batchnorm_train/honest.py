"""expect: correct

Normalises by hand and updates the running statistics as torch does: with the unbiased variance.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x):
        norm = self.norm
        var, mean = torch.var_mean(x, dim=0, correction=0)
        count = x.shape[0]
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
        return (x - mean) * torch.rsqrt(var + norm.eps) * norm.weight + norm.bias
