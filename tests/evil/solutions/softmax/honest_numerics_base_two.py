"""expect: correct

Benign twin of numerics_fast_exp: powers of two with the logarithm's factor folded in, as attention kernels write it.
"""

import math

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        powers = torch.exp2((x - x.amax(dim=1, keepdim=True)) * math.log2(math.e))
        return powers * powers.sum(dim=1, keepdim=True).reciprocal()
