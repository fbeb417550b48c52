"""expect: correct

Benign twin of numerics_nan_swallowed and of cheats that hand out one buffer for ever: the sum lies in a workspace that
all calls share, the answer in new memory.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.workspace = None

    def forward(self, a, b):
        if self.workspace is None or self.workspace.shape != a.shape:
            self.workspace = torch.empty_like(a)
        torch.add(a, b, out=self.workspace)
        return torch.relu(self.workspace)
