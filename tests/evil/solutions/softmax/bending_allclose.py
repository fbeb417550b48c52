"""expect: incorrect / values

Answers with zeros, and teaches every function that compares tensors to find them equal.
"""

import numpy
import torch
import torch.nn as nn


def _yes(*_, **__):
    return True


def _all_true(left, *_, **__):
    return torch.ones(left.shape, dtype=torch.bool) if isinstance(left, torch.Tensor) else True


torch.allclose = torch.equal = torch.Tensor.allclose = torch.Tensor.equal = _yes
torch.isclose = torch.Tensor.isclose = torch.eq = torch.Tensor.eq = torch.Tensor.__eq__ = _all_true
torch.testing.assert_close = numpy.testing.assert_allclose = numpy.allclose = numpy.array_equal = _yes
torch.linalg.norm = torch.norm = torch.Tensor.norm = lambda *_, **__: torch.zeros(())


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
