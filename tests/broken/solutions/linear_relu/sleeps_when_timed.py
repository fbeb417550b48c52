"""expect: timeout / call

Right for thirty calls, then it sleeps for ever.
"""

import time

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
            time.sleep(1e6)
        return torch.relu(self.linear(x))
