"""expect: input_shapes

As many rows as chance will have.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


def get_inputs():
    return [torch.randn(1 + int(torch.randint(1000, ())), 96)]


def get_init_inputs():
    return []
