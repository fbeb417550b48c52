"""expect: incorrect / shape

Keeps the reduced dimension, [256, 1] for [256]: compared without a look at the shapes, the two are broadcast.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x.mean(dim=1, keepdim=True)
