"""expect: crash / SIGSEGV

Recurses in native code until the stack is used up, where no interpreter counts along: the process dies of it, and
only the process.
"""

import ctypes
import os
import subprocess
from pathlib import Path

import torch.nn as nn

_SOURCE = "int dig(int n) { volatile char pit[4096]; pit[n % 4096] = n; return dig(n + 1) + pit[0]; }"
_folder = Path(os.environ.get("TMPDIR", "/tmp"))
(_folder / "dig.c").write_text(_SOURCE)
subprocess.run(["gcc", "-O0", "-shared", "-fPIC", str(_folder / "dig.c"), "-o", str(_folder / "dig.so")], check=True)
_library = ctypes.CDLL(str(_folder / "dig.so"))


class ModelNew(nn.Module):
    def forward(self, a, b):
        _library.dig(0)
        return a
