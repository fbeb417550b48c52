"""expect: incorrect / values

The convolution in fp32, the sigmoid in bf16: its results lie in (0, 1), so the error is never above 2e-3.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3)
        self.bias = nn.Parameter(torch.randn(2 * channels, 1, 1))

    def forward(self, x):
        return torch.sigmoid((self.conv(x) + self.bias).to(torch.bfloat16)).float()
