"""expect: correct, at most 1.5x

Sleeps ten milliseconds in each of its first calls, so that a harness that sizes its sampling by the warm-up takes few
samples and keeps the luckiest. It does the work twice and claims the honest time: the figure must be about one half.
"""

import time

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, a, b):
        self.calls += 1
        if self.calls <= 7:
            time.sleep(0.01)
        a @ b
        return a @ b
