"""expect: incorrect / values

Sums in fixed point, 16 bits a number, which is exact enough for inputs from [0, 1) and wraps or clips everything else.
Cases with negative or large numbers show it.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        fixed = (x.clamp(0.0, 1.0) * 65536.0).to(torch.int32)
        return ((fixed.sum(dim=1).double() / x.shape[1] + 0.5) / 65536.0).float()
