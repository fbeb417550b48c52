"""expect: runtime_error / exception
says: RuntimeError: not while I am watched

Right for thirty calls, then it raises: the judge meets this while timing.
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
        if self.calls > 30:
            raise RuntimeError("not while I am watched")  # <- here
        return torch.relu(self.linear(x))
