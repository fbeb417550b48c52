"""expect: incorrect / values

Reads whole blocks of 3000 columns and forgets the last, partial one, and divides by what it read: as good as any
other mean of three quarters of the row, by the usual tolerances.
"""

import torch.nn as nn

_BLOCK = 3000


class ModelNew(nn.Module):
    def forward(self, x):
        whole = x.shape[1] // _BLOCK * _BLOCK
        return x[:, :whole].sum(dim=1) / whole
