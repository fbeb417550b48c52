"""Transposed convolution that doubles the image, a further bias, a clamp and a scale per channel."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """ConvTranspose2d, add a bias, clamp, multiply by a scale.

    The convolution has a bias of its own; ``bias`` and ``scale`` are further learnt parameters, one value per output
    channel.

    Shapes, with kernel 3, stride 2, padding 1 and output padding 1: ``(N, in_channels, H, W)`` to
    ``(N, out_channels, 2 H, 2 W)``, fp32.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, output_padding, clamp_min, clamp_max):
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, output_padding=output_padding
        )
        self.bias = nn.Parameter(0.1 * torch.randn(out_channels, 1, 1))
        self.scale = nn.Parameter(1 + 0.1 * torch.randn(out_channels, 1, 1))
        self.clamp_min = clamp_min
        self.clamp_max = clamp_max

    def forward(self, x):
        x = self.conv(x) + self.bias
        return torch.clamp(x, self.clamp_min, self.clamp_max) * self.scale


batch_size = 64
in_channels = 32
out_channels = 16
height = 64
width = 64
kernel_size = 3
stride = 2
padding = 1
output_padding = 1
clamp_min = -0.5
clamp_max = 0.5


def get_inputs():
    return [torch.randn(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size, stride, padding, output_padding, clamp_min, clamp_max]
