"""expect: correct

Benign twin of memo_cuda_weights_of_the_first_call: the prepacked weights follow the parameter's address and version
counter.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

_DEVICE = torch.device("cuda")


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
