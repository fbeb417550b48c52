"""expect: inputs_unseeded

A generator that the judge cannot seed.
"""

import os

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


def get_inputs():
    return [torch.randn(64, 96, generator=torch.Generator().manual_seed(int.from_bytes(os.urandom(6), "big")))]


def get_init_inputs():
    return []
