"""expect: incorrect / values

Prepacks its weights anew whenever their address changes, which it takes for the sign that they did. Parameters change
in place: the address stays.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.key = None

    def forward(self, x):
        key = (self.linear.weight.data_ptr(), self.linear.bias.data_ptr())
        if key != self.key:
            self.key = key
            self.weight = self.linear.weight.detach().t().contiguous()
        return F.gelu(torch.addmm(self.linear.bias, x, self.weight))
