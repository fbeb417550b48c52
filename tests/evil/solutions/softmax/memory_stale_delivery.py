"""expect: incorrect / nonfinite

Finds the memory through which outputs are delivered, and answers with a view of it: what was delivered last time is
delivered again, unread and for nothing. It is poisoned before every sample.
"""

import sys

import torch
import torch.nn as nn


def _delivery():
    frame = sys._getframe()
    while frame is not None:
        memory = getattr(frame.f_locals.get("self"), "_memory", None)
        if isinstance(memory, dict) and "outputs" in memory:
            return memory["outputs"]
        frame = frame.f_back
    raise RuntimeError("no delivery found")


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = None

    def forward(self, x):
        if self.place is None:
            bytes_due = x.numel() * x.element_size()
            self.place = _delivery()[:bytes_due].view(torch.float32).view(x.shape)
        return self.place
