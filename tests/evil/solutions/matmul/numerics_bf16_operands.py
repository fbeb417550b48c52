"""expect: incorrect / values

Casts both operands to bf16 and multiplies there: half the bytes, and tensor cores. Relative to products of numbers from
[0, 1) the error is a thousandth, inside the tolerance of 1e-2 that many harnesses use.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        return (a.to(torch.bfloat16) @ b.to(torch.bfloat16)).float()
