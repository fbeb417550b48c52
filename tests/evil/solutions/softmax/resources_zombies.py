"""expect: correct, at most 2x

Leaves three hundred dead children that it never waits for, and as many orphans for whoever adopts them.
"""

import os

import torch
import torch.nn as nn

_CHILDREN = 300


def _leave_corpses():
    for _ in range(_CHILDREN):
        if os.fork() == 0:
            os._exit(0)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        _leave_corpses()
        if os.fork() == 0:
            _leave_corpses()
            os._exit(0)

    def forward(self, x):
        return torch.softmax(x, dim=1)
