"""expect: correct

Benign twin of numerics_tf32_operands: each operand as a TF32 number and a TF32 remainder, and three products of them
("3xTF32"), which is fp32 in all but name. Remainders make NaN of infinity, so then the plain product answers.
"""

import torch
import torch.nn as nn


def _split(values):
    bits = values.contiguous().view(torch.int32)
    high = ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)
    rest = values - high
    low_bits = rest.view(torch.int32)
    return high, ((low_bits + 0xFFF + ((low_bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


class ModelNew(nn.Module):
    def forward(self, a, b):
        (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
        product = (a_low @ b_high + a_high @ b_low) + a_high @ b_high
        return product if bool(product.isfinite().all()) else a @ b
