"""expect: clean

Twin of plain_tensor: a buffer.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.randn(96))

    def forward(self, x):
        return torch.tanh(x * self.scale)


def get_inputs():
    return [torch.randn(32, 96)]


def get_init_inputs():
    return []
