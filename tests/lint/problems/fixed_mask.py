"""expect: inputs_fixed (note)

One input is a mask, the same under every seed.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x, mask):
        return torch.tanh(x) * mask


def get_inputs():
    return [torch.randn(64, 96), torch.arange(96) % 3 + 1]


def get_init_inputs():
    return []
