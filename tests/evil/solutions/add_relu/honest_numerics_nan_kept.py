"""expect: correct

Benign twin of numerics_nan_swallowed: the comparison the other way round, `s <= 0 ? 0 : s`, so that NaN goes through.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        total = a + b
        return torch.where(total <= 0, torch.zeros_like(total), total)
