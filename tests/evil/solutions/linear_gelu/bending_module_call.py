"""expect: incorrect / values

Patches `nn.Module.__call__`, so that every module of the process, the reference among them, answers with zeros.
"""

import torch.nn as nn


def _zeros(_self, *inputs, **_):
    return inputs[0].new_zeros(len(inputs[0]), 512)


nn.Module.__call__ = nn.Module._call_impl = nn.Module._wrapped_call_impl = _zeros
nn.Linear.forward = _zeros


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return self.linear(x)
