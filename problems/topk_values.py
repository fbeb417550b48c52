"""The largest values of each row, in descending order."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """The ``k`` largest values of each row, largest first; a NaN counts as larger than any number.

    Values only: among equal ones torch may name any as chosen, so indices would have no one right answer.

    Shapes: ``(rows, columns)`` to ``(rows, k)``, fp32.
    """

    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, x):
        return torch.topk(x, self.k, dim=1).values


rows = 4096
columns = 8192
k = 16


def get_inputs():
    return [torch.randn(rows, columns)]


def get_init_inputs():
    return [k]
