"""expect: incorrect / buffers
says: running_var

Updates the running variance with the biased estimate: wrong by a thousandth, and only in a buffer.
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
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var, norm.momentum)
        norm.num_batches_tracked += 1
        return (x - mean) * torch.rsqrt(var + norm.eps) * norm.weight + norm.bias
