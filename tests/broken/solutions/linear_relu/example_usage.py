"""expect: load_error / import
says: name 'batch_size' is not defined

Ends in an example that uses the problem's constants.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))


x = torch.randn(batch_size, features)  # <- here  # noqa: F821
print(ModelNew(features)(x))  # noqa: F821
