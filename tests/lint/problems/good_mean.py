"""expect: clean

Twin of sampled_mean: the mean counts.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, x):
        return F.gelu(x) + x.mean(1, keepdim=True)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
