"""Convolution, batch normalisation over the current batch, and a constant factor."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Conv2d, BatchNorm2d, multiply by a constant.

    Stays in train mode, as constructed: the normalisation uses the batch's own statistics,
    and every call moves ``running_mean``, ``running_var`` and ``num_batches_tracked``. These
    buffers are outputs as much as the returned tensor is.

    Shapes: ``(N, in_channels, H, W)`` to
    ``(N, out_channels, H - kernel_size + 1, W - kernel_size + 1)``, fp32.
    """

    def __init__(self, in_channels, out_channels, kernel_size, scaling_factor):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bn = nn.BatchNorm2d(out_channels)
        self.scaling_factor = scaling_factor

    def forward(self, x):
        return self.bn(self.conv(x)) * self.scaling_factor


batch_size = 128
in_channels = 8
out_channels = 64
height = 128
width = 128
kernel_size = 3
scaling_factor = 2.0


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size, scaling_factor]
