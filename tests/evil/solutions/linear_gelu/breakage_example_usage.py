"""expect: load_error / import

Ends in an example that uses the problem's constants, which are not here.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x))


x = torch.rand(batch, features)  # noqa: F821
print(ModelNew(features)(x))  # noqa: F821
