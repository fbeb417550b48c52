"""expect: incorrect / input_mutated

Writes the right answer over the input and returns that: no output is allocated, half of the memory traffic is saved,
and the next reader of the input finds something else.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1, out=x)
