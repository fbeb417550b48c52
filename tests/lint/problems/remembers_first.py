"""expect: hidden_state

The first input's mean is used for ever after: the same inputs twice do not show it.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self._mean = None

    def forward(self, x):
        if self._mean is None:
            self._mean = x.mean()
        return x - self._mean


def get_inputs():
    return [torch.rand(64, 96)]


def get_init_inputs():
    return []
