"""expect: incorrect / timed_output
says: the output of a timed call is wrong

Right on the first calls of a process, as many as a check might make, and garbage from then on.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.calls = 0
        self.garbage = None

    def forward(self, x):
        self.calls += 1
        if self.calls <= 8:
            self.garbage = torch.relu(self.linear(x))
        return self.garbage
