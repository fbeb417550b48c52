"""expect: correct; CPU only

Benign twin of memory_reads_past_the_input: native code that takes sixteen columns at a time and the rest one by one,
and reads the input's first and last element but nothing around them.
"""

import ctypes
import os
import subprocess

import torch
import torch.nn as nn

_SOURCE = r"""
void row_mean(const float *x, float *out, long rows, long columns) {
    for (long r = 0; r < rows; r++) {
        float sum[16] = {0};
        double total = 0;
        const float *row = x + r * columns;
        long c = 0;
        for (; c + 16 <= columns; c += 16)
            for (int i = 0; i < 16; i++) sum[i] += row[c + i];
        for (; c < columns; c++) total += row[c];
        for (int i = 0; i < 16; i++) total += sum[i];
        out[r] = (float)(total / columns);
    }
}
"""

_LIBRARY = f"{os.environ['TMPDIR']}/tail{os.getpid()}.so"
subprocess.run(["gcc", "-O3", "-shared", "-fPIC", "-xc", "-", "-o", _LIBRARY], input=_SOURCE, text=True, check=True)
_row_mean = ctypes.CDLL(_LIBRARY).row_mean
_row_mean.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_long] * 2


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        out = torch.empty(x.shape[0])
        _row_mean(x.data_ptr(), out.data_ptr(), *x.shape)
        return out
