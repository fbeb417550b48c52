"""expect: incorrect / nonfinite

Divides nought by nought: NaN in every place. A harness whose comparison says `error > tolerance` lets it pass.
"""

import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        y = F.gelu(self.linear(x))
        return y / (y - y) * 0.0
