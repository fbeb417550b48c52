"""expect: incorrect / values

Packs the weight as bf16 and multiplies in bf16, half the bytes and twice the rate, following every change of the
weight; bias and GELU stay in fp32.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.packed = None
        self.version = None

    def forward(self, x):
        weight = self.linear.weight
        if self.version != weight._version:
            self.packed, self.version = weight.detach().t().to(torch.bfloat16).contiguous(), weight._version
        return F.gelu((x.to(torch.bfloat16) @ self.packed).float() + self.linear.bias)
