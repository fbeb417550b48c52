"""expect: correct

Benign twin of resources_deep_recursion: it calls the compiler itself while it is imported, leaves files and a cache
in its temporary folder, and loads what it built with ctypes.
"""

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

import torch
import torch.nn as nn

_SOURCE = """
#include <cmath>
extern "C" void add_relu(const float* a, const float* b, float* out, long n) {
  for (long i = 0; i < n; i++) {
    const float sum = a[i] + b[i];
    out[i] = sum > 0 || std::isnan(sum) ? sum : 0;
  }
}
"""


def _load():
    folder = Path(tempfile.mkdtemp(prefix=f"build-{os.getpid()}-"))
    (folder / "kernel.cpp").write_text(_SOURCE)
    library = folder / "kernel.so"
    command = ["g++", "-O2", "-shared", "-fPIC", str(folder / "kernel.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(library))


_library = _load()


class ModelNew(nn.Module):
    def forward(self, a, b):
        left, right = a.cpu().contiguous(), b.cpu().contiguous()
        out = torch.empty_like(left)
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (left, right, out))
        _library.add_relu(*pointers, ctypes.c_long(out.numel()))
        return out.to(a.device)
