"""A linear layer and the exact GELU."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """``gelu(x W^T + b)`` with the error function.

    Shapes: ``(tokens, in_features)`` to ``(tokens, out_features)``, strict fp32.
    """

    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        return F.gelu(self.linear(x))


tokens = 4096
in_features = 1024
out_features = 4096


def get_inputs():
    return [torch.randn(tokens, in_features)]


def get_init_inputs():
    return [in_features, out_features]
