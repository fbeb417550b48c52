"""expect: incorrect / timed_output

Two output buffers in turn, in case somebody holds two outputs at once; a third call overwrites the first one's
answer. Short calls are timed many at a time, and all their outputs are due.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.ring = None

    def forward(self, a, b):
        if self.ring is None:
            self.ring = [torch.empty_like(a), torch.empty_like(a)]
        self.ring.reverse()
        out = self.ring[0]
        torch.add(a, b, out=out)
        return out.relu_()
