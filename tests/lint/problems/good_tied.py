"""expect: clean

Two names for one parameter: neither moves anything without the other.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(96, 96, bias=False)
        self.second = nn.Linear(96, 96, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def get_inputs():
    return [torch.randn(32, 96)]


def get_init_inputs():
    return []
