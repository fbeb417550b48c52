"""A linear layer with int8 weights and a scale per output channel, for a small batch."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """``x @ (weight * scale)^T + bias``: the weights are made floating, scaled, and multiplied.

    Decoding a language model is bound by reading its weights; at 8 bits there is half as much to read as at 16.

    Shapes: ``(tokens, in_features)`` to ``(tokens, out_features)``, fp16. ``weight`` is ``(out_features,
    in_features)``, int8, ``scale`` is ``(out_features,)``.
    """

    def __init__(self, in_features, out_features):
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (out_features, in_features), dtype=torch.int8))
        self.scale = nn.Parameter(0.0005 + 0.001 * torch.rand(out_features))
        self.bias = nn.Parameter(torch.randn(out_features))

    def forward(self, x):
        weight = self.weight.to(x.dtype) * self.scale[:, None]
        return x @ weight.t() + self.bias


tokens = 32
in_features = 8192
out_features = 16384


def get_inputs():
    return [torch.randn(tokens, in_features)]


def get_init_inputs():
    return [in_features, out_features]
