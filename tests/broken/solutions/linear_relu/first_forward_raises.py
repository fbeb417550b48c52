"""expect: runtime_error / exception
says: NotImplementedError: soon

Raises in its first forward.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        raise NotImplementedError("soon")  # <- here
