"""expect: runtime_error / exception
says: ValueError:

Raises with a message of megabytes, full of escape codes and broken text.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        raise ValueError("\x1b[2J\x1b]0;owned\x07\udcff\u202e" + "long " * 1_000_000)  # <- here
