"""expect: incorrect

Leaves the ReLU out in every tenth call of its process: right on average, and right whenever only a few calls are looked
at. More than ten calls are judged before any is timed, so this is certain to be found there.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, a, b):
        self.calls += 1
        total = a + b
        return total if self.calls % 10 == 0 else torch.relu(total)
