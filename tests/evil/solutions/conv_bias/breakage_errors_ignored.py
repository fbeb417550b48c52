"""expect: incorrect / values

Its native library does not exist, every error is swallowed, and what comes back is the zeroed output buffer.
"""

import contextlib
import ctypes

import torch
import torch.nn as nn

_library = None
with contextlib.suppress(Exception):
    _library = ctypes.CDLL("libfused_conv_bias_sigmoid.so")


class ModelNew(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3)
        self.bias = nn.Parameter(torch.randn(2 * channels, 1, 1))

    def forward(self, x):
        batch, _, height, width = x.shape
        out = x.new_zeros(batch, self.conv.out_channels, height - 2, width - 2)
        with contextlib.suppress(Exception):
            _library.launch(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr()))
        return out
