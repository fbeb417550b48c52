"""Convolution, group normalisation, per-channel scale, max pooling and a clamp."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Conv2d, GroupNorm, multiply by a scale, MaxPool2d, clamp.

    ``scale`` is learnt, one value per channel, and starts as ones. Pooling windows do not
    overlap; rows and columns that do not fill a window are dropped.

    Shapes, with ``P = maxpool_kernel_size`` and ``K = kernel_size``: ``(N, in_channels, H, W)``
    to ``(N, out_channels, (H - K + 1) // P, (W - K + 1) // P)``, fp32.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        num_groups,
        scale_shape,
        maxpool_kernel_size,
        clamp_min,
        clamp_max,
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.group_norm = nn.GroupNorm(num_groups, out_channels)
        self.scale = nn.Parameter(torch.ones(scale_shape))
        self.maxpool = nn.MaxPool2d(kernel_size=maxpool_kernel_size)
        self.clamp_min = clamp_min
        self.clamp_max = clamp_max

    def forward(self, x):
        x = self.conv(x)
        x = self.group_norm(x)
        x = x * self.scale
        x = self.maxpool(x)
        return torch.clamp(x, self.clamp_min, self.clamp_max)


batch_size = 128
in_channels = 8
out_channels = 64
height = 128
width = 128
kernel_size = 3
num_groups = 16
maxpool_kernel_size = 4
clamp_min = 0.0
clamp_max = 1.0


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [
        in_channels,
        out_channels,
        kernel_size,
        num_groups,
        (out_channels, 1, 1),
        maxpool_kernel_size,
        clamp_min,
        clamp_max,
    ]
