"""expect: correct

Benign twin of clock_claims_zero: a fused native loop that is truly faster than two eager operators, and keeps a count
of the nanoseconds spent in it. Its time is short because it does less, not because it says so.
"""

import ctypes
import os
import subprocess

import torch
import torch.nn as nn

_SOURCE = r"""
#include <time.h>
long long spent_ns;
void add_relu(const float *a, const float *b, float *out, long n) {
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (long i = 0; i < n; i++) {
        float sum = a[i] + b[i];
        out[i] = sum < 0 ? 0 : sum; /* NaN stays NaN */
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    spent_ns += (t1.tv_sec - t0.tv_sec) * 1000000000LL + t1.tv_nsec - t0.tv_nsec;
}
"""

_LIBRARY = f"{os.environ['TMPDIR']}/add_relu{os.getpid()}.so"
subprocess.run(["gcc", "-O3", "-shared", "-fPIC", "-xc", "-", "-o", _LIBRARY], input=_SOURCE, text=True, check=True)
_add_relu = ctypes.CDLL(_LIBRARY).add_relu
_add_relu.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_long]


class ModelNew(nn.Module):
    def forward(self, a, b):
        if a.is_cuda:
            return torch.relu(a + b)
        a, b = a.contiguous(), b.contiguous()
        out = torch.empty_like(a)
        _add_relu(a.data_ptr(), b.data_ptr(), out.data_ptr(), a.numel())
        return out
