"""expect: nonfinite

Three quarters of the output are minus infinity.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.arange(96) % 4 > 0)

    def forward(self, x):
        return x.masked_fill(self.mask, float("-inf"))


def get_inputs():
    return [torch.randn(32, 96)]


def get_init_inputs():
    return []
