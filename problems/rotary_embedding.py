"""Rotary position embedding of the queries and keys of an attention with fewer key heads."""

import torch
import torch.nn as nn


def rotate_half(x):
    """The two halves of the last dimension exchanged, the new first one negated."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class Model(nn.Module):
    """``x * cos + rotate_half(x) * sin`` for queries and keys.

    ``cos`` and ``sin`` are buffers of shape ``(positions, head_size)``, one row per position.

    Shapes: ``(batch, query_heads, positions, head_size)`` and ``(batch, key_heads, positions, head_size)`` to the
    same, fp32.
    """

    def __init__(self, positions, head_size, base):
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
        angles = torch.outer(torch.arange(positions, dtype=torch.float64), frequencies)
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())

    def forward(self, queries, keys):
        return (
            queries * self.cos + rotate_half(queries) * self.sin,
            keys * self.cos + rotate_half(keys) * self.sin,
        )


batch = 4
query_heads = 32
key_heads = 8
positions = 4096
head_size = 128
base = 10000.0


def get_inputs():
    return [
        torch.randn(batch, query_heads, positions, head_size),
        torch.randn(batch, key_heads, positions, head_size),
    ]


def get_init_inputs():
    return [positions, head_size, base]
