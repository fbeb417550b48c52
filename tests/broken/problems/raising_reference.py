"""A reference whose forward raises: no solution can be judged, and none is to blame."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        raise ValueError("this reference never worked")


def get_inputs():
    return [torch.randn(16, 16)]


def get_init_inputs():
    return []
