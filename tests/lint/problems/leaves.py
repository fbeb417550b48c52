"""expect: crash

Ends its process as if all were well.
"""

import sys

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return sys.exit(0)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
