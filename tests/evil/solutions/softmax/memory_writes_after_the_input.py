"""expect: incorrect / out_of_bounds

Answers rightly, and writes sixteen bytes behind the end of its input, where a harness may keep the expected output.
"""

import ctypes

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.softmax(x, dim=1)
        ctypes.memset(x.data_ptr() + x.numel() * x.element_size(), 0, 16)
        return out
