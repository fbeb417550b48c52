"""expect: correct

Benign twin of forging_every_descriptor: it catches exceptions, SystemExit among them. A fast path that this machine
may lack is tried, and the plain one stands behind it.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


def _fast(x, linear):
    if not hasattr(torch.ops, "a_backend_of_the_future"):
        raise SystemExit("no such backend")
    return torch.ops.a_backend_of_the_future.linear_gelu(x, linear.weight, linear.bias)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        try:
            return _fast(x, self.linear)
        except (SystemExit, RuntimeError, AttributeError):
            return F.gelu(self.linear(x))
