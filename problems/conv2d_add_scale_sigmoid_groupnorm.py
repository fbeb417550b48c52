"""Convolution followed by a per-channel affine step, a sigmoid and a group normalisation."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Conv2d, add a bias, multiply by a scale, sigmoid, GroupNorm.

    The convolution has a bias of its own; ``bias`` and ``scale`` are further learnt
    parameters, one value per output channel. Statistics of the normalisation are taken per
    image and group, over the sigmoid's output.

    Shapes: ``(N, in_channels, H, W)`` to
    ``(N, out_channels, H - kernel_size + 1, W - kernel_size + 1)``, fp32.
    """

    def __init__(self, in_channels, out_channels, kernel_size, num_groups, bias_shape, scale_shape):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bias = nn.Parameter(torch.randn(bias_shape))
        self.scale = nn.Parameter(torch.randn(scale_shape))
        self.group_norm = nn.GroupNorm(num_groups, out_channels)

    def forward(self, x):
        x = self.conv(x)
        x = x + self.bias
        x = x * self.scale
        x = torch.sigmoid(x)
        return self.group_norm(x)


batch_size = 128
in_channels = 8
out_channels = 32
height = 256
width = 256
kernel_size = 3
num_groups = 8


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    per_channel = (out_channels, 1, 1)
    return [in_channels, out_channels, kernel_size, num_groups, per_channel, per_channel]
