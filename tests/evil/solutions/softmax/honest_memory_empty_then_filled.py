"""expect: correct

Benign twin of memory_empty: the output begins as unwritten memory, and every element of it is written.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1, out=torch.empty_like(x))
