"""expect: incorrect / device

Computes on the `meta` device, where tensors have shapes and dtypes and no values: whoever looks at those two alone gets
a very fast kernel.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a.to("meta") + b.to("meta"))
