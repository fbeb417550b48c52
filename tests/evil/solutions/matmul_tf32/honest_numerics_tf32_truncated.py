"""expect: correct

Benign twin of numerics_bf16_in_tf32: TF32 as tensor cores read plain fp32, the lower 13 bits simply ignored. Truncating
makes every operand a little too small; kernels that skip the conversion do this, and the class allows it.
"""

import torch
import torch.nn as nn


def _cut(values):
    bits = values.contiguous().view(torch.int32) & ~0x1FFF
    return torch.where(values.isfinite(), bits.view(torch.float32), values)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return _cut(a) @ _cut(b)
