"""expect: correct, at most 1.5x

Replaces torch's events by ones that always tell a microsecond and does the work three times over. The judge's
window says how long it took.
"""

import torch
import torch.nn as nn

_DEVICE = torch.device("cuda")


class _Hasty(torch.cuda.Event):
    def elapsed_time(self, end):
        return 0.001


torch.cuda.Event = torch.cuda.streams.Event = _Hasty


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
