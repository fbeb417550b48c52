"""expect: incorrect / values

The tanh approximation in place of the exact GELU: off by up to 5e-4, which a tolerance of 1e-2 or 1e-3 never sees.
"""

import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x), approximate="tanh")
