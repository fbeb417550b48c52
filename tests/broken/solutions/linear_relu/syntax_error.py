"""expect: load_error / import
says: SyntaxError

Not Python.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x)  # <- here
        return x
