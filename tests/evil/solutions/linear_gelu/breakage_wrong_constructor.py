"""expect: load_error / constructor

Takes no arguments where the reference takes one.
"""

import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(512, 512)

    def forward(self, x):
        return F.gelu(self.linear(x))
