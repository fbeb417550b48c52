"""expect: incorrect / timed_output

Right for as many calls as a check might make, then it forgets one of its inputs: who judges first and times afterwards
times another function. Outputs of timed calls are judged as well.
"""

import torch
import torch.nn as nn

_HONEST_CALLS = 100


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, a, b):
        self.calls += 1
        if self.calls <= _HONEST_CALLS:
            return torch.relu(a + b)
        return torch.relu(a)
