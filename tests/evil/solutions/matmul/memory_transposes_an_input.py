"""expect: incorrect

Answers rightly but leaves its first input transposed in place (the same bytes, another stride), so that whoever uses
the same tensor object next, the reference or this very module, computes something else.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        product = a @ b
        a.t_()
        return product
