"""Depthwise 3x3 convolution followed by a hard swish, as in mobile image networks."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Conv2d with one filter per channel (stride 1, same size), its bias, and ``x * clamp(x + 3, 0, 6) / 6``.

    Shapes: ``(N, channels, H, W)`` to the same, fp32.
    """

    def __init__(self, channels, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, x):
        return nn.functional.hardswish(self.conv(x))


batch_size = 32
channels = 256
height = 56
width = 56
kernel_size = 3


def get_inputs():
    return [torch.randn(batch_size, channels, height, width)]


def get_init_inputs():
    return [channels, kernel_size]
