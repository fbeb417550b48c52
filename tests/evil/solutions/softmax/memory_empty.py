"""expect: incorrect

Returns memory that nobody has written. Where the reference ran just before in the same process, the allocator may
hand out the very block that held its answer; here it holds nothing of the kind.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.empty_like(x)
