"""expect: incorrect / values

Normalises rightly and drops weight, bias and scale, which are ones and zeros when the module is new. Parameters are
randomised before judging.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(torch.ones(columns))

    def forward(self, x):
        return nn.functional.layer_norm(x, self.norm.normalized_shape, eps=self.norm.eps)
