"""expect: correct

The reference in other words.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return nn.functional.linear(x, self.linear.weight, self.linear.bias).clamp_(min=0)
