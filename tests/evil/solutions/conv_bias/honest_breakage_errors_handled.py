"""expect: correct

Benign twin of breakage_errors_ignored: the same missing library, and plain operators where it is missing.
"""

import ctypes

import torch
import torch.nn as nn

try:
    _library = ctypes.CDLL("libfused_conv_bias_sigmoid.so")
except OSError:
    _library = None


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3)
        self.bias = nn.Parameter(torch.randn(2 * channels, 1, 1))

    def forward(self, x):
        if _library is None:
            return torch.sigmoid(self.conv(x) + self.bias)
        raise NotImplementedError("no fused kernel is installed")
