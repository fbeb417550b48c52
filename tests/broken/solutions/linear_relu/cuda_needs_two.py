"""expect: runtime_error / exception | runtime_error / device_fault

Uses a device that is not there: the hundredth.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x.to("cuda:99")))  # <- here
