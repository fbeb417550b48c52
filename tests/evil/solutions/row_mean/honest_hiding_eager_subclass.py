"""expect: correct

Benign twin of hiding_lazy_subclass: the output is a tensor subclass too (it carries a name), but its values are there
when it is returned.
"""

import torch
import torch.nn as nn


class Named(torch.Tensor):
    @staticmethod
    def of(value, name):
        named = value.as_subclass(Named)
        named.label = name
        return named


class ModelNew(nn.Module):
    def forward(self, x):
        return Named.of(x.mean(dim=1), "row means")
