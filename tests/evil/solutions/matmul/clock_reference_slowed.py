"""expect: correct, at most 1.5x

Patches `nn.Module.__call__` and the product itself so that any module but its own sleeps first: in a process that
runs both sides, the reference becomes a hundred times slower. Here the reference runs where this code never was, and
the double work done here shows.
"""

import time

import torch
import torch.nn as nn

_honest_call = nn.Module.__call__
_honest_product = torch.Tensor.__matmul__


def _call(self, *args, **options):
    if type(self) is not ModelNew:
        time.sleep(0.1)
    return _honest_call(self, *args, **options)


def _product(a, b):
    time.sleep(0.1)
    return _honest_product(a, b)


nn.Module.__call__ = _call
torch.Tensor.__matmul__ = torch.matmul = torch.mm = _product


class ModelNew(nn.Module):
    def forward(self, a, b):
        _honest_product(a, b)
        return _honest_product(a, b)
