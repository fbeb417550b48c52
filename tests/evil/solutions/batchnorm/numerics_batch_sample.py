"""expect: incorrect / values

Batch statistics from 8 of the 32 images, in output and buffers alike: the two agree with each other.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        norm = self.norm
        few = x[:8]
        var, mean = torch.var_mean(few, dim=(0, 2, 3), correction=0)
        count = few.numel() // few.shape[1]
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
        factor = 2.0 * torch.rsqrt(var + norm.eps) * norm.weight
        offset = 2.0 * norm.bias - mean * factor
        return x * factor[:, None, None] + offset[:, None, None]
