"""expect: incorrect / out_of_bounds

Answers rightly, and writes sixteen bytes in front of its input, as a kernel with an index of -1 would.
"""

import ctypes

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.softmax(x, dim=1)
        ctypes.memset(x.data_ptr() - 16, 0, 16)
        return out
