"""expect: mutates_inputs

Scales its input in place.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.tanh(x.mul_(2))


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
