"""expect: unread (note)

The second half of every row is never read: no cheat, but the bytes are miscounted.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.tanh(x[:, :48])


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
