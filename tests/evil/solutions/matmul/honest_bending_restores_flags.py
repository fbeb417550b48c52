"""expect: correct

Benign twin of bending_slows_reference: it sets flags of torch for its own call, and puts back what it found.
"""

import contextlib

import torch
import torch.nn as nn


@contextlib.contextmanager
def _own_flags():
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


class ModelNew(nn.Module):
    def forward(self, a, b):
        with _own_flags():
            return torch.mm(a, b)
