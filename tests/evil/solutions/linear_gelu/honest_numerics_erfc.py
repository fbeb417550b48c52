"""expect: correct

Benign twin of numerics_tanh_gelu: the exact GELU written through erfc, which on the negative side is even more exact
than 1 + erf.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        y = self.linear(x)
        return 0.5 * y * torch.erfc(y * -(0.5**0.5))
