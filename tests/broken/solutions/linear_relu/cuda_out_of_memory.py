"""expect: out_of_memory / allocation

Asks the device for a terabyte and more.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        scratch = torch.empty(1 << 41, dtype=torch.uint8, device="cuda")  # <- here
        return torch.relu(self.linear(x)) + scratch[0]
