"""expect: out_of_memory / memory_limit

Allocates and touches memory without end (six gigabytes, where nothing stops it).
"""

import torch
import torch.nn as nn

_PIECE = 8 << 20


class ModelNew(nn.Module):
    def forward(self, a, b):
        kept = []
        while len(kept) * _PIECE * 4 < 6 << 30:
            kept.append(torch.ones(_PIECE))
        return torch.relu(a + b)
