"""expect: incorrect / buffers

The right output, and a running variance fed with the biased estimate (BatchNorm wants the unbiased one there): off by
3e-6 of the variance, in a buffer.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        norm = self.norm
        var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var, norm.momentum)
        norm.num_batches_tracked += 1
        factor = torch.rsqrt(var + norm.eps) * norm.weight
        offset = norm.bias - mean * factor
        return (x * factor[:, None, None] + offset[:, None, None]) * 2.0
