"""expect: incorrect / values

Prepacks its weights in the first call and never looks at them again. A module is trainable: its parameters change in
place between calls.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.packed = None

    def forward(self, x):
        if self.packed is None:
            self.packed = self.linear.weight.detach().t().contiguous(), self.linear.bias.detach().clone()
        weight, bias = self.packed
        return F.gelu(torch.addmm(bias, x, weight))
