"""expect: correct

Benign twin of numerics_affine_ignored: weight, bias and scale are folded into one factor and one offset, anew in every
call, since they may have changed.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(torch.ones(columns))

    def forward(self, x):
        norm = self.norm
        return nn.functional.layer_norm(
            x, norm.normalized_shape, norm.weight * self.scale, norm.bias * self.scale, norm.eps
        )
