"""expect: correct

Benign twin of inputs_constant: the plain loop of a vectorised C kernel, eight accumulators a row, each the sum of 1024
columns one after another, added up at the end. A kernel goes row by row; this is Python and takes all rows at once.
"""

import torch
import torch.nn as nn

_LANES = 8


class ModelNew(nn.Module):
    def forward(self, x):
        strips = x.t().contiguous().unflatten(0, (-1, _LANES))
        lanes = torch.zeros_like(strips[0])
        for strip in strips.unbind(0):
            lanes += strip
        return lanes.sum(dim=0) / x.shape[1]
