"""expect: special_parameter (note)

Ones and zeros to begin with; only the cases with other values see them ignored.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(96)

    def forward(self, x):
        return self.norm(x)


def get_inputs():
    return [torch.randn(32, 96)]


def get_init_inputs():
    return []
