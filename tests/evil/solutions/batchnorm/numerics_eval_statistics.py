"""expect: incorrect / values

Normalises with the running statistics, as in eval mode, and spares the reduction. The buffers it still updates, from a
sixteenth of the batch.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        norm = self.norm
        factor = 2.0 * torch.rsqrt(norm.running_var + norm.eps) * norm.weight
        offset = 2.0 * norm.bias - norm.running_mean * factor
        var, mean = torch.var_mean(x[::16], dim=(0, 2, 3))
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var, norm.momentum)
        norm.num_batches_tracked += 1
        return x * factor[:, None, None] + offset[:, None, None]
