"""expect: out_of_memory / memory_limit

Touches shared anonymous memory without end, which is no process's private memory (six gigabytes, where nothing stops
it).
"""

import mmap

import torch.nn as nn

_PIECE, _PAGE = 64 << 20, 4096


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        kept = []
        while len(kept) * _PIECE < 6 << 30:
            kept.append(mmap.mmap(-1, _PIECE))
            kept[-1][::_PAGE] = bytes([1]) * (_PIECE // _PAGE)
        return x
