"""expect: incorrect / nonfinite

Exponentiates without subtracting the row's maximum: one pass less, exact for small numbers, infinity over infinity as
soon as one exceeds 88.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        powers = torch.exp(x)
        return powers / powers.sum(dim=1, keepdim=True)
