"""expect: incorrect / values

Normalises with the running statistics, as in eval mode.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x):
        norm = self.norm
        return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False)
