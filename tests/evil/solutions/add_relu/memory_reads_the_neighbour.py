"""expect: incorrect / nonfinite

Takes what lies directly behind its first input for the second one, as allocators often place them, and never looks at
the second tensor itself. Around each input lies a zone that belongs to nobody.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        try:
            neighbour = a.as_strided(a.shape, a.stride(), a.storage_offset() + a.numel())
        except RuntimeError:  # the storage ends with the tensor
            return torch.relu(a)
        return torch.relu(a + neighbour)
