"""expect: runtime_error / exception
says: Unprintable

Raises an exception that cannot be put into words.
"""

import torch.nn as nn


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        raise Unprintable  # <- here
