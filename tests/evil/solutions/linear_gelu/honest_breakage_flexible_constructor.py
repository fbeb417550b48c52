"""expect: correct

Benign twin of breakage_wrong_constructor: takes what the reference takes, and options of its own with defaults.
"""

import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, *args, approximate="none", **kwargs):
        super().__init__()
        self.linear = nn.Linear(args[0], args[0], **kwargs)
        self.approximate = approximate

    def forward(self, x, *, approximate=None):
        return F.gelu(self.linear(x), approximate=approximate or self.approximate)
