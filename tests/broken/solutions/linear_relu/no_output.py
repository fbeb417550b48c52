"""expect: incorrect / structure
says: None

Forgets its return statement.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        torch.relu(self.linear(x))
