"""expect: rejected / below_floor
says: below the physical floor

An honest solution, faster than the absurd floor that its problem declares.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(512, 512))

    def forward(self, x):
        return x @ self.weight
