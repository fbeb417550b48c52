"""Means over runs of rows, as when the messages of a graph's edges are gathered at its nodes."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """The mean of the rows of each segment, given the segment of every row in ascending order.

    ``segments[i]`` is the segment of row ``i``, never less than ``segments[i - 1]``. A segment without rows has a mean
    of zero.

    Shapes: ``(rows, width)`` fp32 and ``(rows,)`` int64 to ``(num_segments, width)`` fp32.
    """

    def __init__(self, num_segments):
        super().__init__()
        self.num_segments = num_segments

    def forward(self, x, segments):
        sums = x.new_zeros(self.num_segments, x.shape[1]).index_add(0, segments, x)
        counts = x.new_zeros(self.num_segments).index_add(0, segments, x.new_ones(x.shape[0]))
        return sums / counts.clamp(min=1).unsqueeze(1)


rows = 1_000_000
width = 64
num_segments = 50_000


def get_inputs():
    segments = torch.randint(0, num_segments, (rows,)).sort().values
    return [torch.randn(rows, width), segments]


def get_init_inputs():
    return [num_segments]
