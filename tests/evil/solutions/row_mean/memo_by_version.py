"""expect: incorrect / values

Remembers answers by address and version counter, which follows every write that goes through torch in this process.
The judge writes through memory of its own and no counter moves.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = {}

    def forward(self, x):
        key = (x.data_ptr(), x._version)
        if key not in self.answers:
            self.answers[key] = x.mean(dim=1)
        return self.answers[key].clone()
