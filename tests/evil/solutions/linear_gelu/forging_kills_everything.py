"""expect: crash / SIGKILL

Sends SIGKILL to every process it may reach, the judge first, itself last: no judge, no verdict.
"""

import contextlib
import os
import signal

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        for target in (os.getppid(), 1, -1, 0, os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(target, signal.SIGKILL)
        return x
