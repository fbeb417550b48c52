"""expect: incorrect / values

Leaves the ReLU out in a tenth of all rows, chosen by the inputs' own bits, so that no two inputs are wrong in the same
places. A harness that looks at a sample of five elements accepts it with probability 0.77. All elements are compared
here: a call of 64 rows has no wrong one with probability 0.001, two calls with one in a million.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        total = a + b
        skipped = a[:, :4].contiguous().view(torch.int32).long().sum(dim=1, keepdim=True) % 10 == 0
        return torch.where(skipped, total, torch.relu(total))
