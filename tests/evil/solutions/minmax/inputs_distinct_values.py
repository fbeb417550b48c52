"""expect: incorrect / values

Searches for the least element from the row's end: the same index while all numbers differ, the last of several equal
ones otherwise, where the reference names the first. Cases with ties tell them apart.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x.amax(dim=1), x.shape[1] - 1 - x.flip(1).argmin(dim=1)
