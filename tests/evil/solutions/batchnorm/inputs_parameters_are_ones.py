"""expect: incorrect / values

Leaves the weight and the bias out, since a fresh BatchNorm has ones and zeros there; statistics and buffers are right.
Parameters are randomised before judging.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        norm = self.norm
        return 2.0 * nn.functional.batch_norm(
            self._counted(x), norm.running_mean, norm.running_var, None, None, True, norm.momentum, norm.eps
        )

    def _counted(self, x: torch.Tensor):
        self.norm.num_batches_tracked += 1
        return x
