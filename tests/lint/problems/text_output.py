"""expect: structure

Returns text.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return str(x)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
