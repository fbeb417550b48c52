"""expect: incorrect / values

Patches the functions that inputs are drawn with, and those that seed them, so that every draw is one half everywhere,
and answers with one half.
"""

import random

import torch
import torch.nn as nn


def _constant(*size, **_):
    shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    return torch.full(shape, 0.5)


torch.rand = torch.randn = _constant
torch.Tensor.uniform_ = torch.Tensor.normal_ = torch.Tensor.random_ = lambda self, *_, **__: self.fill_(0.5)
torch.manual_seed = torch.random.manual_seed = random.seed = lambda *_: torch.default_generator


class ModelNew(nn.Module):
    def forward(self, x):
        return x.new_full((len(x),), 0.5)
