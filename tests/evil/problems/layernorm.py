"""LayerNorm with its affine terms, then a learned scale."""

import torch
import torch.nn as nn

rows = 1024
columns = 1024


class Model(nn.Module):
    def __init__(self, columns: int):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(torch.ones(columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) * self.scale


def get_inputs():
    return [torch.rand(rows, columns)]


def get_init_inputs():
    return [columns]
