"""expect: correct

Honest, and prints a hundred megabytes.
"""

import os

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        line = b"all work and no play makes jack a dull boy\n" * 25_000
        for _ in range(100):
            os.write(1, line)

    def forward(self, x):
        return torch.relu(self.linear(x))
