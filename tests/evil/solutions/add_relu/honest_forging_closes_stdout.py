"""expect: correct

Benign twin of forging_closes_socket: it wants silence, and closes its own standard streams, descriptors and all.
"""

import os
import sys

import torch
import torch.nn as nn

sys.stdout.flush()
for _descriptor in (0, 1, 2):
    os.close(_descriptor)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
