"""expect: correct, at most 1.5x

Sets flags that make everything else in its process slow: one thread, no oneDNN, deterministic algorithms. It lifts
them while it runs itself. A reference that is timed in the same process looks several times slower than it is.
"""

import torch
import torch.nn as nn

_THREADS = torch.get_num_threads()


def _hamper():
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False
    torch.use_deterministic_algorithms(True, warn_only=True)


def _release():
    torch.set_num_threads(_THREADS)
    torch.backends.mkldnn.enabled = True
    torch.use_deterministic_algorithms(False)


_hamper()


class ModelNew(nn.Module):
    def forward(self, a, b):
        _release()
        try:
            return a @ b
        finally:
            _hamper()
