"""expect: correct

Benign twin of numerics_bf16_in_tf32: operands rounded to TF32 (10 explicit mantissa bits, to nearest, ties to even) and
accumulation in fp32, which is what the class declares, also on a device whose eager product is more exact.
"""

import torch
import torch.nn as nn


def _to_tf32(values):
    bits = values.contiguous().view(torch.int32)
    rounded = (bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF
    return torch.where(values.isfinite(), rounded.view(torch.float32), values)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return _to_tf32(a) @ _to_tf32(b)
