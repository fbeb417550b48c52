"""expect: incorrect

The first call of a group does the work and the rest of the group return what it left: a call that follows another
within microseconds is taken for a repetition of it. Every call of a group has inputs of its own.
"""

import time

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.last_s = 0.0
        self.answer = None

    def forward(self, a, b):
        now_s = time.monotonic()
        if now_s - self.last_s > 50e-6:
            self.answer = torch.relu(a + b)
        self.last_s = time.monotonic()
        return self.answer
