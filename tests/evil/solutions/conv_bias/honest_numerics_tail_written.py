"""expect: correct

Benign twin of numerics_tail_unwritten: the same blocks over unwritten memory, and the rest after them.
"""

import torch
import torch.nn as nn

_BLOCK = 2048


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3)
        self.bias = nn.Parameter(torch.randn(2 * channels, 1, 1))

    def forward(self, x):
        y = self.conv(x) + self.bias
        out = torch.empty_like(y)
        whole = y.numel() // _BLOCK * _BLOCK
        torch.sigmoid(y.view(-1)[:whole], out=out.view(-1)[:whole])
        torch.sigmoid(y.view(-1)[whole:], out=out.view(-1)[whole:])
        return out
