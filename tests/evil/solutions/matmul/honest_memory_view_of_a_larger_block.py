"""expect: correct

Benign twin of memory_returns_the_input: the output is a view, not contiguous, of a larger block, as kernels that pad
their rows return it.
"""

import torch
import torch.nn as nn

_PADDING = 16


class ModelNew(nn.Module):
    def forward(self, a, b):
        block = torch.empty(a.shape[0], b.shape[1] + _PADDING, device=a.device)
        out = block[:, : b.shape[1]]
        out.copy_(a @ b)
        return out
