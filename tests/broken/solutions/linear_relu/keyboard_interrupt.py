"""expect: runtime_error / exception
says: KeyboardInterrupt

Raises what Ctrl-C raises: no one else's run may end by it.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        raise KeyboardInterrupt  # <- here
