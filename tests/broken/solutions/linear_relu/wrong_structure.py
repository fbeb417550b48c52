"""expect: incorrect / structure
says: the output is (T,T) where T is due

The right tensor, and a second one.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        y = torch.relu(self.linear(x))
        return y, y
