"""expect: incorrect / structure

A hundred thousand tensors where one is due.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return [torch.relu(self.linear(x))] * 100_000
