"""expect: out_of_memory / memory_limit

Forks, and its children fork, until there are three hundred processes, each of which then makes the memory it
inherited its own. None is large, and no limit of a single process is passed: only the tree as a whole takes too much.
"""

import os
import time

import torch.nn as nn

_DEPTH = 300
_OWN_BYTES = 24 << 20


class ModelNew(nn.Module):
    def forward(self, a, b):
        kept = bytearray(_OWN_BYTES)
        for _ in range(_DEPTH):
            if os.fork() == 0:
                kept[:] = os.urandom(1) * _OWN_BYTES
                time.sleep(20.0)
                os._exit(0)
        time.sleep(20.0)
        return a
