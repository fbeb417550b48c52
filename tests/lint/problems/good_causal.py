"""expect: clean

Twin of masked_out: what was minus infinity goes into a softmax.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(48, 48).triu(1).bool())

    def forward(self, x):
        return x.masked_fill(self.mask, float("-inf")).softmax(-1)


def get_inputs():
    return [torch.randn(16, 48, 48)]


def get_init_inputs():
    return []
