"""expect: correct

Benign twin of inputs_distinct_values: a search in two steps, blocks first, that names the first of several equal
numbers as the reference does.
"""

import torch.nn as nn

_BLOCK = 128


class ModelNew(nn.Module):
    def forward(self, x):
        blocks = x.unflatten(1, (-1, _BLOCK))
        block = blocks.amin(dim=2).argmin(dim=1, keepdim=True)
        within = blocks.argmin(dim=2).gather(1, block)
        return blocks.amax(dim=2).amax(dim=1), (block * _BLOCK + within).squeeze(1)
