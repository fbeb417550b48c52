"""expect: aliases_input

The output is the input seen from another side.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return x.transpose(0, 1)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
