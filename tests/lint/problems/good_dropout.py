"""expect: clean

Twin of dropout: eval mode, by the sidecar.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(torch.tanh(x))


def get_inputs():
    return [torch.randn(32, 96)]


def get_init_inputs():
    return []
