"""expect: incorrect / values

Leaves out the last 32 of 4096 columns, as a kernel does whose loop ends at a whole number of tiles: those entries are
nought and the others too large by less than a hundredth.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def forward(self, x):
        kept = x.shape[1] - 32
        return F.pad(torch.softmax(x[:, :kept], dim=1), (0, x.shape[1] - kept))
