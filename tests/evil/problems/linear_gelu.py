"""A linear layer, then the exact GELU."""

import torch
import torch.nn as nn
import torch.nn.functional as F

batch = 256
features = 512


class Model(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.linear(x))


def get_inputs():
    return [torch.rand(batch, features)]


def get_init_inputs():
    return [features]
