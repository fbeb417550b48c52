"""expect: out_of_memory / allocation
says: MemoryError

Asks Python for more than there is.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return bytearray(1 << 60)  # <- here
