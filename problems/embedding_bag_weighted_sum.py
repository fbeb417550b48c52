"""Weighted sums of table rows, as in the sparse half of a recommendation model."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """EmbeddingBag: for each bag the sum over its indices of weight times table row.

    Indices may repeat within a bag and between bags.

    Shapes: ``(bags, bag_size)`` int64 indices below ``rows`` and as many fp32 weights, to ``(bags, width)``, fp32.
    """

    def __init__(self, rows, width):
        super().__init__()
        self.bag = nn.EmbeddingBag(rows, width, mode="sum")

    def forward(self, indices, weights):
        return self.bag(indices, per_sample_weights=weights)


rows = 200_000
width = 128
bags = 16384
bag_size = 32


def get_inputs():
    return [torch.randint(0, rows, (bags, bag_size)), torch.rand(bags, bag_size)]


def get_init_inputs():
    return [rows, width]
