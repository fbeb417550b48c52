"""expect: incorrect / values

Remembers answers by the identity of the input's tensor object. The objects stay; what they hold is new in every call.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = {}

    def forward(self, x):
        key = id(x)
        if key not in self.answers:
            self.answers[key] = x.mean(dim=1)
        return self.answers[key].clone()
