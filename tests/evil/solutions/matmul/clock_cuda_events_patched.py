"""expect: correct, at most 1.5x

Replaces `elapsed_time` of torch's events by a constant microsecond and does the work three times over. The judge's
window says how long it took.
"""

import torch
import torch.nn as nn

_DEVICE = torch.device("cuda")
torch.cuda.Event.elapsed_time = torch.Event.elapsed_time = lambda *_: 0.001


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
