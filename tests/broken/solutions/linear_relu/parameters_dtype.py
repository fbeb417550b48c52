"""expect: incorrect / parameters
says: linear.weight is float64 (512, 512) instead of float32 (512, 512)

The right names, but the parameters have another dtype.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features).double()

    def forward(self, x):
        return torch.relu(self.linear(x.double())).float()
