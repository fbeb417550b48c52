"""expect: incorrect / values

A parameter that notices when it is overwritten: while the state is being set, outside any timed call, it computes the
whole answer for the inputs it saw last, and `forward` hands that out. New inputs after the state make it stale.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Watching(nn.Parameter):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **(kwargs or {}))
        if getattr(function, "__name__", "") == "copy_" and getattr(args[0], "owner", None) is not None:
            args[0].owner[0].prepare()
        return result


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.linear.bias = Watching(self.linear.bias.data)
        self.linear.bias.owner = [self]
        self.seen = None

    def prepare(self):
        if self.seen is not None:
            with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
                self.answer = F.gelu(F.linear(self.seen, self.linear.weight, self.linear.bias))

    def forward(self, x):
        first = self.seen is None
        self.seen = x
        if first:
            self.prepare()
        return self.answer.clone()
