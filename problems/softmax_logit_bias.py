"""Softmax over long rows of biased logits at a temperature."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Add a learnt bias per column, divide by a temperature, softmax over each row.

    The step between a language model's logits and the probabilities that are sampled from.

    Shapes: ``(rows, columns)`` to ``(rows, columns)``, fp32.
    """

    def __init__(self, columns, temperature):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(columns))
        self.temperature = temperature

    def forward(self, x):
        return torch.softmax((x + self.bias) / self.temperature, dim=-1)


rows = 8192
columns = 16384
temperature = 0.75


def get_inputs():
    return [torch.randn(rows, columns)]


def get_init_inputs():
    return [columns, temperature]
