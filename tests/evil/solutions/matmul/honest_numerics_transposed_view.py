"""expect: correct

Benign twin of breakage_kept_dimension, seen from its layout: (B'A')' is AB, and what comes back is a view whose strides
run the other way. Shape and values are as asked.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        return (b.t() @ a.t()).t()
