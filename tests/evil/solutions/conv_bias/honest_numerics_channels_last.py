"""expect: correct

Benign twin of breakage_kept_dimension, seen from its layout: the output is dense with the channels innermost, and both
biases are folded into one. Strides are the solution's own affair.
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
        weight = self.conv.weight.to(memory_format=torch.channels_last)
        bias = self.conv.bias + self.bias.flatten()
        return F.conv2d(x.to(memory_format=torch.channels_last), weight, bias).sigmoid_()
