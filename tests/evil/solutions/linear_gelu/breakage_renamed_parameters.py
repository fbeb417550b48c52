"""expect: incorrect / parameters

Computes the same, under other names, so that no parameter can be copied into it: right only where both sides draw their
parameters under one seed and in one order.
"""

import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.fc = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.fc(x))
