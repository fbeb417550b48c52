"""expect: clean

Whole numbers in, whole numbers out: there is no lower precision that could be told apart.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return (x.unsqueeze(-1) == torch.arange(16)).sum(1)


def get_inputs():
    return [torch.randint(0, 16, (32, 256))]


def get_init_inputs():
    return []
