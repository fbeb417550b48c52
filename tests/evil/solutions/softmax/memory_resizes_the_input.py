"""expect: incorrect / shape

Shrinks its input to one row in place, so that a reference given the same tensor afterwards also answers with one row,
five hundred times cheaper for both. The judge's own shapes are out of reach.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        x.resize_(1, x.shape[1])
        return torch.softmax(x, dim=1)
