"""expect: runtime_error / exception

Starts threads without end (three thousand, where nothing stops it), each asleep and each counted as a process.
"""

import threading
import time

import torch
import torch.nn as nn

_MOST = 3000


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        threading.stack_size(64 << 10)

    def forward(self, a, b):
        for _ in range(_MOST):
            threading.Thread(target=time.sleep, args=(20.0,), daemon=True).start()
        return torch.relu(a + b)
