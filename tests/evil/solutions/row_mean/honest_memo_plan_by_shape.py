"""expect: correct

Benign twin of memo_by_shape: what it remembers by shape is how to divide the work, never an answer.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.plans = {}

    def forward(self, x):
        if x.shape not in self.plans:
            columns = x.shape[1]
            self.plans[x.shape] = 64 if columns % 64 == 0 else 1
        parts = self.plans[x.shape]
        return x.view(x.shape[0], parts, -1).sum(dim=2).sum(dim=1) / x.shape[1]
