"""expect: incorrect / nonfinite; CPU only

Reads one vector too many at the end of each row and gives the surplus the weight zero: within the tensor that is
harmless, and behind it too as long as ordinary numbers lie there. Nothing ordinary lies behind an input here.
"""

import ctypes
import os
import subprocess

import torch
import torch.nn as nn

_SOURCE = r"""
void row_mean(const float *x, float *out, long rows, long columns) {
    for (long r = 0; r < rows; r++) {
        float sum[16] = {0}, total = 0;
        const float *row = x + r * columns;
        for (long c = 0; c <= columns; c += 16)
            for (int i = 0; i < 16; i++) sum[i] += row[c + i] * (c < columns ? 1.0f : 0.0f);
        for (int i = 0; i < 16; i++) total += sum[i];
        out[r] = total / columns;
    }
}
"""

_LIBRARY = f"{os.environ['TMPDIR']}/past{os.getpid()}.so"
subprocess.run(["gcc", "-O3", "-shared", "-fPIC", "-xc", "-", "-o", _LIBRARY], input=_SOURCE, text=True, check=True)
_row_mean = ctypes.CDLL(_LIBRARY).row_mean
_row_mean.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_long] * 2


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty(x.shape[0])
        _row_mean(x.data_ptr(), out.data_ptr(), *x.shape)
        return out
