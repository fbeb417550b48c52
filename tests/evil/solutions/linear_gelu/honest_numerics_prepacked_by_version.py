"""expect: correct

Benign twin of numerics_bf16_weights: packs the weight once, in full precision, and again whenever its `_version` or its
memory changes.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.packed = None
        self.packed_from = None

    def forward(self, x):
        weight = self.linear.weight
        source = (weight.data_ptr(), weight._version)
        if self.packed_from != source:
            self.packed, self.packed_from = weight.detach().t().contiguous(), source
        return F.gelu(torch.addmm(self.linear.bias, x, self.packed))
