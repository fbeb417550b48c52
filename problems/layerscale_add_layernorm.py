"""A branch scaled per channel is added to the residual stream, which is then normalised."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """``hidden = residual + scale * branch`` and its LayerNorm; both are returned.

    The seam between two blocks of a transformer with LayerScale: the next block reads the normalised values, the
    residual stream goes on.

    Shapes: two of ``(batch, tokens, features)`` to two of the same, fp32: normalised, hidden.
    """

    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(features))
        self.norm = nn.LayerNorm(features)

    def forward(self, branch, residual):
        hidden = residual + self.scale * branch
        return self.norm(hidden), hidden


batch = 8
tokens = 2048
features = 4096


def get_inputs():
    return [torch.randn(batch, tokens, features), torch.randn(batch, tokens, features)]


def get_init_inputs():
    return [features]
