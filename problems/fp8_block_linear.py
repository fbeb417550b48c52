"""A linear layer with 8-bit floating weights (e4m3) and a scale per block, for a small batch."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """``x @ (weight * scale)^T``, with one scale for each block of ``block`` x ``block`` weights.

    ``weight`` holds the bits of float8_e4m3fn as uint8: a floating buffer would be cast to the layer's own dtype.

    Shapes: ``(tokens, in_features)`` to ``(tokens, out_features)``, fp16. ``weight`` is ``(out_features,
    in_features)``, ``scale`` is ``(ceil(out_features / block), ceil(in_features / block))``.
    """

    def __init__(self, in_features, out_features, block):
        super().__init__()
        values = torch.randn(out_features, in_features).to(torch.float8_e4m3fn)
        self.register_buffer("weight", values.view(torch.uint8))
        self.scale = nn.Parameter(0.02 + 0.04 * torch.rand(-(-out_features // block), -(-in_features // block)))
        self.block = block

    def forward(self, x):
        rows, columns = self.weight.shape
        scale = self.scale.repeat_interleave(self.block, 0)[:rows].repeat_interleave(self.block, 1)[:, :columns]
        return x @ (self.weight.view(torch.float8_e4m3fn).to(x.dtype) * scale).t()


tokens = 32
in_features = 8192
out_features = 16384
block = 128


def get_inputs():
    return [torch.randn(tokens, in_features)]


def get_init_inputs():
    return [in_features, out_features, block]
