"""expect: clean

Twin of saturated: one number comes out, which no other can have met at a limit.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, x, target):
        return F.huber_loss(x, target)


def get_inputs():
    return [torch.randn(64, 96), torch.randn(64, 96)]


def get_init_inputs():
    return []
