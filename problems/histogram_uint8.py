"""How often each of 256 values occurs in each channel of each image."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Counts of the values 0 to 255 per image and channel. Dark values are more frequent in the inputs.

    Shapes: ``(N, channels, H, W)`` uint8 to ``(N, channels, 256)`` int64.
    """

    def forward(self, x):
        values = x.flatten(2).long()
        counts = torch.zeros(*x.shape[:2], 256, dtype=torch.int64, device=x.device)
        return counts.scatter_add(2, values, torch.ones_like(values))


batch_size = 32
channels = 3
height = 512
width = 512


def get_inputs():
    return [(256 * torch.rand(batch_size, channels, height, width).square()).to(torch.uint8)]


def get_init_inputs():
    return []
