"""expect: echo

The work adds less than rounding to the input.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return x + 1e-9 * torch.tanh(x)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
