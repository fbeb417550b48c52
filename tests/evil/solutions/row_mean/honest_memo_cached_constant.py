"""expect: correct

Benign twin of memo_by_bytes_hash: an `lru_cache` holds a constant vector that depends on size and type alone.
"""

import functools

import torch
import torch.nn as nn


@functools.lru_cache(maxsize=8)
def _weights(columns, dtype, device):
    return torch.full((columns,), 1.0 / columns, dtype=dtype, device=device)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.mv(x, _weights(x.shape[1], x.dtype, x.device))
