"""expect: load_error / constructor
says: ValueError: only multiples of 1024

Raises in its constructor.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        if features % 1024:
            raise ValueError("only multiples of 1024")  # <- here
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
