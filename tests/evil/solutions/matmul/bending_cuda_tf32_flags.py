"""expect: incorrect / values

Switches TF32 on, for the process and for its own call, inside a problem that is strict fp32: several times faster,
and wrong in the fourth digit. A judge that shares the flags compares TF32 with TF32.
"""

import torch
import torch.nn as nn


def _switch_on():
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")


_switch_on()


class ModelNew(nn.Module):
    def forward(self, a, b):
        _switch_on()
        return a @ b
