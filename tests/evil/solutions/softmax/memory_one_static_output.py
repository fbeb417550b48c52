"""expect: incorrect / output_reused

Writes every answer into one buffer and returns it each time, which saves an allocation and its page faults. Whoever
holds two outputs at once holds one.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = None

    def forward(self, x):
        if self.out is None:
            self.out = torch.empty_like(x)
        return torch.softmax(x, dim=1, out=self.out)
