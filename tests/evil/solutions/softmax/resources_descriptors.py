"""expect: correct, at most 2x

Opens files until it may open no more and keeps them, then goes on: its worker cannot open anything either, and a
judge that shares the limit cannot write the record down.
"""

import contextlib
import os

import torch
import torch.nn as nn

_MOST = 20_000


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, x):
        with contextlib.suppress(OSError):
            while len(self.kept) < _MOST:
                self.kept.append(os.open("/dev/null", os.O_RDONLY))
        return torch.softmax(x, dim=1)
