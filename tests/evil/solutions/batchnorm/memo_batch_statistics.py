"""expect: incorrect

Takes the batch statistics of its first call for those of every batch, which saves a pass over the input: batches of
one distribution hardly differ. The tolerance is finer than that, and other cases differ a great deal.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.statistics = None

    def forward(self, x):
        norm = self.norm
        if self.statistics is None:
            self.statistics = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        mean, var = self.statistics
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(var * count / (count - 1), norm.momentum)
            norm.num_batches_tracked += 1
        factor = norm.weight / torch.sqrt(var + norm.eps) * 2.0
        return x * factor[:, None, None] + (norm.bias * 2.0 - mean * factor)[:, None, None]
