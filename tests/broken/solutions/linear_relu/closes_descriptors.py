"""expect: crash / exited

Closes every descriptor, the judge's socket among them.
"""

import os

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        os.closerange(0, 4096)
        return torch.relu(self.linear(x))
