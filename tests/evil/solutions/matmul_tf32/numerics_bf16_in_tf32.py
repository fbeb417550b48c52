"""expect: incorrect / values

The tf32 class allows operands of 10 mantissa bits; this takes 7, with fp32 accumulation, for twice the rate.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        return a.to(torch.bfloat16).float() @ b.to(torch.bfloat16).float()
