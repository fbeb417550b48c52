"""expect: load_error / import
says: SystemExit

Ends its process politely, with success, while it is imported.
"""

import sys

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x


sys.exit(0)  # <- here
