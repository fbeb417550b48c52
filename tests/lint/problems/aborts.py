"""expect: crash

Takes its process along.
"""

import os

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return os.abort()


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
