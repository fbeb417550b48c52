"""expect: incorrect / shape
says: has shape [512, 256] instead of [256, 512]

The right values, transposed.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x)).t()
