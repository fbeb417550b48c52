"""expect: correct

Benign twin of hiding_work_in_constructor: what depends on the sizes alone, the vector of weights of a mean, is made
before any input is known.
"""

import torch
import torch.nn as nn

_COLUMNS = 8192


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.full((_COLUMNS,), 1.0 / _COLUMNS)

    def forward(self, x):
        if x.shape[1] != self.weights.numel():
            return x.mean(dim=1)
        self.weights = self.weights.to(x.device)
        return torch.mv(x, self.weights)
