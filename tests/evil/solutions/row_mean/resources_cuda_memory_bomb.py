"""expect: out_of_memory / allocation

Takes all of the device's memory, piece by piece, and holds it until the device has none left for anybody.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        kept = []
        while True:
            kept.append(torch.ones(64 << 20, device="cuda"))
