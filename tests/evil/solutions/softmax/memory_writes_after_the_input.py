"""expect: incorrect / out_of_bounds

Answers rightly, and writes sixteen bytes behind the end of its input, where a harness may keep the expected output.
"""

import ctypes

import torch
import torch.nn as nn


def _clear(x, address, count):
    if x.is_cuda:
        ctypes.CDLL("libcuda.so.1").cuMemsetD8_v2(ctypes.c_uint64(address), ctypes.c_ubyte(0), ctypes.c_size_t(count))
    else:
        ctypes.memset(address, 0, count)


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.softmax(x, dim=1)
        _clear(x, x.data_ptr() + x.numel() * x.element_size(), 16)
        return out
