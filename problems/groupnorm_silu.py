"""Group normalisation followed by SiLU, as between the convolutions of a diffusion model's U-Net."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """GroupNorm, then ``x * sigmoid(x)``. Statistics are taken per image and group.

    Shapes: ``(N, channels, H, W)`` to the same, fp32.
    """

    def __init__(self, channels, num_groups):
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels)

    def forward(self, x):
        return nn.functional.silu(self.norm(x))


batch_size = 32
channels = 640
num_groups = 32
height = 32
width = 32


def get_inputs():
    return [torch.randn(batch_size, channels, height, width)]


def get_init_inputs():
    return [channels, num_groups]
