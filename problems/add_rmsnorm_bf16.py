"""Residual addition and root-mean-square normalisation, in bf16."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """``hidden = residual + x`` and its RMSNorm; both are returned.

    The mean of squares is taken in fp32 (or wider), as language models do that run in bf16.

    Shapes: two of ``(tokens, features)`` to two of the same: normalised, hidden.
    """

    def __init__(self, features, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features))
        self.eps = eps

    def forward(self, x, residual):
        hidden = residual + x
        wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        factor = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * factor).to(hidden.dtype), hidden


tokens = 16384
features = 8192
eps = 1e-5


def get_inputs():
    return [torch.randn(tokens, features), torch.randn(tokens, features)]


def get_init_inputs():
    return [features, eps]
