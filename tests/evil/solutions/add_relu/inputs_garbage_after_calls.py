"""expect: incorrect / timed_output

Right for more calls than the judging phase makes, then it forgets one of its inputs: who judges first and times later
times another function. Outputs of timed calls are judged as well.
"""

import torch
import torch.nn as nn

_HONEST_CALLS = 16


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, a, b):
        self.calls += 1
        if self.calls <= _HONEST_CALLS:
            return torch.relu(a + b)
        return torch.relu(a)
