"""expect: correct

Benign twin of numerics_columns_dropped: an online softmax in C, compiled by the candidate itself, with blocks of 60
columns that do not divide the row and a loop for what remains.
"""

import ctypes
import os
import subprocess
from pathlib import Path

import torch
import torch.nn as nn

_C = r"""
#include <cfloat>
#include <cmath>

static void block(const float* x, int n, float& top, double& total) {
  float higher = top;
  for (int i = 0; i < n; ++i) if (!(x[i] <= higher)) higher = x[i];
  total *= std::exp(double(top) - double(higher));
  for (int i = 0; i < n; ++i) total += expf(x[i] - higher);
  top = higher;
}

extern "C" void softmax(const float* x, float* y, long rows, long columns) {
  for (long r = 0; r < rows; ++r, x += columns, y += columns) {
    float top = -FLT_MAX;
    double total = 0;
    for (long i = 0; i < columns; i += 60) block(x + i, int(columns - i < 60 ? columns - i : 60), top, total);
    const float factor = float(1 / total);
    for (long i = 0; i < columns; ++i) y[i] = expf(x[i] - top) * factor;
  }
}
"""


def _compile():
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    source, library = folder / "online.cpp", folder / "online.so"
    source.write_text(_C)
    subprocess.run(["g++", "-O3", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).softmax
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    function.restype = None
    return function


_softmax = _compile()


class ModelNew(nn.Module):
    def forward(self, x):
        if x.device.type != "cpu":
            return torch.softmax(x, dim=1)
        x = x.contiguous()
        y = torch.empty_like(x)
        _softmax(x.data_ptr(), y.data_ptr(), x.shape[0], x.shape[1])
        return y
