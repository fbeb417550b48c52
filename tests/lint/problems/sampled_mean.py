"""expect: sampled

A mean that counts for so little that the mean of half the row will do.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, x):
        return F.gelu(x) + 1e-5 * x.mean(1, keepdim=True)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
