"""Frames enlarged bilinearly and normalised per channel, as before a vision model."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Bilinear interpolation to ``size`` (corners not aligned), then ``(x - mean) / std`` per channel.

    Shapes: ``(N, 3, H, W)`` to ``(N, 3, *size)``, fp32.
    """

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, x):
        x = nn.functional.interpolate(x, size=self.size, mode="bilinear", align_corners=False)
        return (x - self.mean) / self.std


batch_size = 16
height = 270
width = 480
size = (720, 1280)


def get_inputs():
    return [torch.rand(batch_size, 3, height, width)]


def get_init_inputs():
    return [size]
