"""Causal attention, forward, in fp16."""

import math

import torch
import torch.nn as nn


class Model(nn.Module):
    """``softmax(mask(q k^T / sqrt(d))) v``, where no position sees a later one.

    Written out, scores and all, as most people first write it.

    Shapes: three of ``(batch, heads, positions, head_size)`` to one of the same.
    """

    def forward(self, queries, keys, values):
        scores = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-2, -1)
        positions = torch.arange(scores.shape[-1], device=scores.device)
        later = positions > positions[:, None]
        return torch.softmax(scores.masked_fill(later, -math.inf), dim=-1) @ values


batch = 4
heads = 16
positions = 2048
head_size = 64


def get_inputs():
    return [torch.randn(batch, heads, positions, head_size) for _ in range(3)]


def get_init_inputs():
    return []
