"""expect: incorrect / buffers
says: linear.weight

The right output, but a parameter moves with every call.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        y = torch.relu(self.linear(x))
        self.linear.weight.mul_(1.001)
        return y
