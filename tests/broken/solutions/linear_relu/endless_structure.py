"""expect: incorrect / structure

An output that contains itself.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        output = [x]
        output.append(output)
        return output
