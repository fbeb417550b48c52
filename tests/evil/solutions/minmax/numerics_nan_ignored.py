"""expect: incorrect / nonfinite

Reduces with `fmax`, which prefers a number to NaN, as the CUDA function of that name does; torch's `amax` hands NaN on.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        top = x
        while top.shape[1] > 1:
            half = top.shape[1] // 2
            top = torch.fmax(top[:, :half], top[:, half:])
        return top.squeeze(1), x.argmin(dim=1)
