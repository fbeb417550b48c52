"""expect: incorrect / values

Turns autocast on inside forward, so that a strict fp32 product runs on the bf16 tensor cores: the quickest "speedup"
there is, and one line.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            product = a @ b
        return product.float()
