"""expect: correct

Benign twin of breakage_renamed_parameters: built of other modules than the reference, with the same names in the end.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class _Affine(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))
        self.weight = nn.Parameter(torch.empty(features, features).normal_(std=0.02))


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = _Affine(features)

    def forward(self, x):
        return F.gelu(torch.addmm(self.linear.bias, x, self.linear.weight.t()))
