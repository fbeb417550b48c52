"""expect: correct

Benign twin of numerics_bf16_sigmoid: the sigmoid through the hyperbolic tangent, in place on memory of its own.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3)
        self.bias = nn.Parameter(torch.randn(2 * channels, 1, 1))

    def forward(self, x):
        y = self.conv(x)
        return y.add_(self.bias).mul_(0.5).tanh_().mul_(0.5).add_(0.5)
