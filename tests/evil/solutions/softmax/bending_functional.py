"""expect: incorrect / values

Replaces softmax itself, in every place where a reference could find it, by a function that returns zeros, and answers
with zeros too: in one process both sides agree.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


def _zeros(x, *_, **__):
    return torch.zeros_like(x)


torch.softmax = torch.Tensor.softmax = F.softmax = torch.special.softmax = _zeros
torch.exp = torch.Tensor.exp = _zeros


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
