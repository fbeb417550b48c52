"""expect: random

Noise of a thousandth: two answers look alike, and none is right.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.tanh(x) + 1e-3 * torch.randn_like(x)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
