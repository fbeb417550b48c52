"""expect: incorrect / values

Wraps the linear function of the whole process in bf16 autocast, so that a reference in the same process loses as much
precision as this one does, and the two agree to the last bit.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

_linear = F.linear


def _half_linear(x, weight, bias=None):
    with torch.autocast(x.device.type, torch.bfloat16):
        return _linear(x, weight, bias).float()


F.linear = _half_linear


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x))
