"""expect: correct

Benign twin of numerics_bf16_sigmoid: the convolution written by hand as patches times a matrix, in fp32, its bias and
the other one added first.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3)
        self.bias = nn.Parameter(torch.randn(2 * channels, 1, 1))

    def forward(self, x):
        patches = F.unfold(x, 3)
        bias = (self.bias.flatten() + self.conv.bias)[:, None]
        flat = torch.sigmoid(self.conv.weight.flatten(1) @ patches + bias)
        return flat.unflatten(2, (x.shape[2] - 2, x.shape[3] - 2))
