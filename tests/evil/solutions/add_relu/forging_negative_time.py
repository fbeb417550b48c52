"""expect: protocol_error / malformed

Computes honestly and reports that every sample took less than no time: a mean below zero, or a speedup without bound.
"""

import torch
import torch.nn as nn

from kbench import protocol

_stock = protocol.pack_sampled


def _forged(*values, **options):
    claims = [-abs(value) - 1.0 if isinstance(value, float) else value for value in values]
    return _stock(*claims, **{k: -abs(v) - 1.0 if isinstance(v, float) else v for k, v in options.items()})


protocol.pack_sampled = _forged


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
