"""expect: correct

Benign twin of clock_slow_warm_up: its first call sets itself up, which takes a while (as compiling or tuning would),
and every later call is as fast as it can be.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.tuned = False

    def forward(self, a, b):
        if not self.tuned:
            self.tuned = True
            for _ in range(20):
                torch.mm(a, b)
        return torch.mm(a, b)
