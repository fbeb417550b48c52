"""Declares a floor (see floored.yaml) that nothing can reach: whatever is measured is too fast."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(512, 512))

    def forward(self, x):
        return x @ self.weight


def get_inputs():
    return [torch.randn(256, 512)]


def get_init_inputs():
    return []
