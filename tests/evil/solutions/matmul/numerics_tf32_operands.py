"""expect: incorrect / values

What a tensor core makes of fp32 when nobody forbids TF32: operands rounded to 10 explicit mantissa bits (to nearest,
ties to even), products accumulated in fp32. The problem asks for strict fp32.
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
