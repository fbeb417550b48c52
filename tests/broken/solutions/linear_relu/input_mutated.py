"""expect: incorrect / input_mutated

The right output, but the input is overwritten.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        y = torch.relu(self.linear(x))
        x.mul_(2)
        return y
