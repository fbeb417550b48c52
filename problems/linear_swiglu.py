"""The gated half of a SwiGLU block: two linear layers, one through SiLU, multiplied."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """``silu(gate(x)) * up(x)``.

    Shapes: ``(tokens, features)`` to ``(tokens, hidden)``, strict fp32.
    """

    def __init__(self, features, hidden):
        super().__init__()
        self.gate = nn.Linear(features, hidden)
        self.up = nn.Linear(features, hidden)

    def forward(self, x):
        return F.silu(self.gate(x)) * self.up(x)


tokens = 4096
features = 2048
hidden = 4096


def get_inputs():
    return [torch.randn(tokens, features)]


def get_init_inputs():
    return [features, hidden]
