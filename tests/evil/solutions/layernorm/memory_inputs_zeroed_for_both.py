"""expect: incorrect / values

Zeroes its input, for which the answer is known without any work: a harness that gives the same tensor to the
reference afterwards finds that both sides agree. The judge's own copy of the inputs is out of reach.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(self.norm.weight.detach().clone())

    def forward(self, x):
        x.zero_()
        return (self.norm.bias * self.scale).expand_as(x).contiguous()
