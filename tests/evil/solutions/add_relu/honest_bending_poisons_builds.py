"""expect: correct

Benign twin, and intended victim, of bending_poisons_builds: an honest extension under the name that the other one
lies in wait for. One candidate's build never reaches another's.
"""

import ctypes

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_SOURCE = """
extern "C" void add_relu(const float* a, const float* b, float* out, long n) {
  for (long i = 0; i < n; i++) out[i] = a[i] + b[i] > 0 ? a[i] + b[i] : (a[i] + b[i] != a[i] + b[i] ? a[i] + b[i] : 0);
}
"""
_path = load_inline(
    name="evil_suite_victim", cpp_sources=_SOURCE, extra_cflags=["-O2"], no_implicit_headers=True,
    is_python_module=False,
)  # fmt: skip
_library = ctypes.CDLL(_path)


def _pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


class ModelNew(nn.Module):
    def forward(self, a, b):
        left, right = a.cpu().contiguous(), b.cpu().contiguous()
        out = torch.empty_like(left)
        _library.add_relu(_pointer(left), _pointer(right), _pointer(out), ctypes.c_long(out.numel()))
        return out.to(a.device)
