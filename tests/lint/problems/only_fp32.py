"""expect: oracle

Refuses the fp64 in which the judge works out the right answer.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.tanh(x) if x.dtype == torch.float32 else x @ "fp32 only"


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
