"""expect: saturated

Hard limits on a normalised value times a thousand.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, x):
        return torch.clamp(1000 * F.layer_norm(x, (96,)), 0, 1)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
