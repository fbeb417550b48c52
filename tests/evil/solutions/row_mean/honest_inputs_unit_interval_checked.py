"""expect: correct

Benign twin of inputs_unit_interval: it sums in fixed point too, at 24 bits where `torch.rand` has no more, and only
after it has seen that every number lies in [0, 1). Otherwise (NaN compares false) it takes the ordinary mean.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        low, high = torch.aminmax(x)
        if not (low >= 0 and high < 1):
            return x.mean(dim=1)
        fixed = torch.round(x * float(1 << 24)).to(torch.int32)
        return (fixed.sum(dim=1).double() / (x.shape[1] << 24)).float()
