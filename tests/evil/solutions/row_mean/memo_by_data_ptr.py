"""expect: incorrect / values

Remembers answers by the input's address: a harness that times one set of inputs over and over pays once. Here the
contents change while the addresses stay.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = {}

    def forward(self, x):
        key = x.data_ptr()
        if key not in self.answers:
            self.answers[key] = x.mean(dim=1)
        return self.answers[key].clone()
