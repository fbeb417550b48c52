"""expect: out_of_memory / memory_limit
says: more host memory than it may

Allocates and touches memory without end.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        kept = []
        while True:
            kept.append(torch.ones(8 << 20))
