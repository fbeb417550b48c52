"""expect: incorrect / values

Returns a view of the input and does nothing, for harnesses that compare a tensor with itself after the reference
wrote its answer into the same place.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x.view(x.shape)
