"""expect: correct

Benign twin of inputs_tabulated_gelu: the table reaches to where GELU is x, or nought, within fp32, and outside of it
that is what it answers; NaN stays NaN.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

_REACH, _STEPS = 6.0, 2048


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        count = int(_REACH * _STEPS)
        exact = F.gelu(torch.arange(-count, count + 1, dtype=torch.float64) / _STEPS)
        self.table = exact.float()

    def forward(self, x):
        table = self.table = self.table.to(x.device)
        y = self.linear(x)
        scaled = y.nan_to_num(0.0).clamp(-_REACH, _REACH) * _STEPS
        at = scaled.floor().clamp(max=_REACH * _STEPS - 1)
        index = (at + _REACH * _STEPS).long()
        low = table[index]
        inside = low + (scaled - at) * (table[index + 1] - low)
        return torch.where(y.abs() < _REACH, inside, y * (y > 0))
