"""expect: clean

Twin of saturated: much of the output lies between the limits.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, x):
        return torch.clamp(F.layer_norm(x, (96,)), -1, 1)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
