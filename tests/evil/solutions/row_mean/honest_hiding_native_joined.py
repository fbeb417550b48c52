"""expect: correct

Benign twin of hiding_native_thread: native threads share the rows, and the call returns when all have been joined.
"""

import ctypes
import os
import subprocess

import torch
import torch.nn as nn

_SOURCE = r"""
#include <thread>
#include <vector>
static void means(const float *x, float *y, long first, long last, long columns) {
    for (long r = first; r < last; r++) {
        double sum = 0;
        for (long c = 0; c < columns; c++) sum += x[r * columns + c];
        y[r] = float(sum / columns);
    }
}
extern "C" void row_mean(const float *x, float *y, long rows, long columns) {
    const long parts = 2;
    std::vector<std::thread> threads;
    for (long p = 0; p < parts; p++)
        threads.emplace_back(means, x, y, rows * p / parts, rows * (p + 1) / parts, columns);
    for (auto &thread : threads) thread.join();
}
"""

_LIBRARY = f"{os.environ['TMPDIR']}/joined{os.getpid()}.so"
_COMMAND = ["g++", "-O3", "-shared", "-fPIC", "-pthread", "-xc++", "-", "-o", _LIBRARY]
subprocess.run(_COMMAND, input=_SOURCE, text=True, check=True)
_row_mean = ctypes.CDLL(_LIBRARY).row_mean
_row_mean.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_long] * 2


class ModelNew(nn.Module):
    def forward(self, x):
        if x.is_cuda:
            return x.mean(dim=1)
        x = x.contiguous()
        out = torch.empty(x.shape[0])
        _row_mean(x.data_ptr(), out.data_ptr(), *x.shape)
        return out
