"""BatchNorm2d in train mode: the running statistics are outputs too."""

import torch
import torch.nn as nn

batch = 32
channels = 32
side = 32


class Model(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) * 2.0


def get_inputs():
    return [torch.rand(batch, channels, side, side)]


def get_init_inputs():
    return [channels]
