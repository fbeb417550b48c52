"""expect: correct

Benign twin of numerics_tail_dropped: blocks of 300 columns, summed one after another into one accumulator, the partial
one at the end as well. Another order than the reference's, and more rounding.
"""

import torch
import torch.nn as nn

_BLOCK = 300


class ModelNew(nn.Module):
    def forward(self, x):
        total = torch.zeros(_BLOCK, x.shape[0], device=x.device)
        for block in x.split(_BLOCK, dim=1):
            total[: block.shape[1]] += block.t()
        return total.sum(dim=0) / x.shape[1]
