"""expect: correct, at most 2x

Sets flags that make everything else in its process slow (one thread, no oneDNN, deterministic algorithms), wraps the
product in one that does it ten times, and lifts all that while it runs itself. A reference that is timed in the same
process looks many times slower than it is.
"""

import torch
import torch.nn as nn

_THREADS = torch.get_num_threads()


def _slow(left, right):
    return [torch.mm(left, right) for _ in range(10)][-1]


def _hamper():
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False
    torch.Tensor.__matmul__ = torch.Tensor.matmul = torch.matmul = _slow


def _release():
    torch.set_num_threads(_THREADS)
    torch.backends.mkldnn.enabled = True


torch.use_deterministic_algorithms(True, warn_only=True)
_hamper()


class ModelNew(nn.Module):
    def forward(self, a, b):
        _release()
        try:
            return torch.mm(a, b)
        finally:
            _hamper()
