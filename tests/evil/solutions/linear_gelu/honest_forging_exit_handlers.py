"""expect: correct

Benign twin of forging_system_exit: it registers exit handlers and signal handlers, as libraries with buffers to flush
do, and its handlers print.
"""

import atexit
import faulthandler
import signal
import sys

import torch.nn as nn
import torch.nn.functional as F

atexit.register(print, "released the workspace", file=sys.stderr)
faulthandler.enable()
for _number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(_number, lambda number, _: sys.exit(128 + number))


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x))
