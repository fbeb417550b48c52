"""expect: flat

A thousand millionth of the input upon a mean: every row is one number repeated.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return x.mean(1, keepdim=True) + 1e-9 * x


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
