"""expect: correct

Benign twin of memo_weights_of_the_first_call: prepacked weights are made anew whenever the parameter's address or
version counter says that it was written.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.key = None

    def forward(self, x):
        weight = self.linear.weight
        key = (weight.data_ptr(), weight._version)
        if key != self.key:
            self.key, self.packed = key, weight.detach().t().contiguous()
        return F.gelu(torch.addmm(self.linear.bias, x, self.packed))
