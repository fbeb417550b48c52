"""expect: correct

Benign twin of numerics_running_variance_biased and numerics_batch_sample: statistics of the whole batch, one factor and
one offset a channel with the doubling folded in, and all three buffers updated as BatchNorm does.
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
        count = x.numel() // x.shape[1]
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
        factor = 2.0 * torch.rsqrt(var + norm.eps) * norm.weight
        offset = 2.0 * norm.bias - mean * factor
        return x * factor[:, None, None] + offset[:, None, None]
