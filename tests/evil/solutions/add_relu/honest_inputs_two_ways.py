"""expect: correct

Benign twin of inputs_wrong_every_tenth_call: on a tenth of all inputs, chosen by their own bits, it goes another way,
which is right as well.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        if int(a[0, :8].contiguous().view(torch.int32).long().sum()) % 10 == 0:
            return torch.maximum(b + a, torch.zeros_like(a))
        return torch.relu(a + b)
