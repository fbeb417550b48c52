"""expect: runtime_error / exception
says: RuntimeError: enough for today

Right twice, then it raises.
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
        if self.calls == 3:
            raise RuntimeError("enough for today")  # <- here
        return torch.relu(self.linear(x))
