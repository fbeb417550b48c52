"""expect: incorrect / values

Remembers answers by the input's shape, since a benchmark has but one. Two inputs of one shape are two inputs.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = {}

    def forward(self, x):
        key = (x.shape, x.dtype)
        if key not in self.answers:
            self.answers[key] = x.mean(dim=1)
        return self.answers[key].clone()
