"""expect: incorrect / parameters
says: missing linear.weight, linear.bias

Computes the same, under other names.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.fc = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.fc(x))
