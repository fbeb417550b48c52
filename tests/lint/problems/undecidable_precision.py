"""expect: precision

A large number added and taken away leaves as few digits as a lower precision has.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, x):
        return F.layer_norm(x, (96,)) + 1e4 - 1e4


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
