"""expect: correct

Benign twin of numerics_no_max_subtraction: one pass with a running maximum and a running sum, rescaled as the maximum
grows. It starts from the least finite number, so that minus infinity in a row does no harm.
"""

import torch
import torch.nn as nn

_BLOCK = 256


class ModelNew(nn.Module):
    def forward(self, x):
        top = x.new_full((x.shape[0], 1), torch.finfo(x.dtype).min)
        total = torch.zeros_like(top)
        for block in x.split(_BLOCK, dim=1):
            higher = torch.maximum(top, block.amax(dim=1, keepdim=True))
            total = total * torch.exp(top - higher) + torch.exp(block - higher).sum(dim=1, keepdim=True)
            top = higher
        return torch.exp(x - top) / total
