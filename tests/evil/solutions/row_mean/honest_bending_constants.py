"""expect: correct

Benign twin of bending_constants: its constants are named like the problem's, hold other values, and mean the tiles
that it works in. All rows and all columns are computed.
"""

import torch
import torch.nn as nn

rows = 64
columns = 2048


class ModelNew(nn.Module):
    def forward(self, x):
        parts = []
        for first in range(0, len(x), rows):
            tiles = x[first : first + rows].view(-1, x.shape[1] // columns, columns)
            parts.append(tiles.sum(dim=2).sum(dim=1) / x.shape[1])
        return torch.cat(parts)
