"""expect: sidecar

Its sidecar sets something that does not exist.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
