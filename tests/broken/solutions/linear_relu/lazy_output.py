"""expect: incorrect / timed_output

Returns a tensor that computes itself only when somebody looks at it, so that a timed call costs nothing.
"""

import torch
import torch.nn as nn


class Promise(torch.Tensor):
    def detach(self):
        return self.compute()


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        promise = torch.Tensor._make_subclass(Promise, torch.empty(x.shape[0], self.linear.out_features))
        promise.compute = lambda: torch.relu(self.linear(x))
        return promise
