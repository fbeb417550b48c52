"""expect: correct

Benign twin of numerics_nan_ignored: the same tree with `maximum`, which hands NaN on.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        top = x
        while top.shape[1] > 1:
            half = top.shape[1] // 2
            top = torch.maximum(top[:, :half], top[:, half:])
        return top.squeeze(1), x.argmin(dim=1)
