"""expect: incorrect / nondeterministic
says: a second one on the same inputs was not

Every other call is wrong.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        y = torch.relu(self.linear(x))
        return y if self.calls % 2 else y + 1
