"""expect: correct, at most 2x

Leaves daemons behind: forked twice, in sessions of their own, deaf to signals, with a descriptor open on everything
the worker had. They would still compete for the cores when the next candidate is timed. (They end after a minute even
where nothing clears them away.)
"""

import os
import signal
import time

import torch.nn as nn
import torch.nn.functional as F

_DAEMONS = 4
_LIFE_S = 60.0


def _daemon():
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(_LIFE_S)
    os._exit(0)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        for _ in range(_DAEMONS):
            if (child := os.fork()) == 0:
                _daemon()
            os.waitpid(child, 0)

    def forward(self, x):
        return F.gelu(self.linear(x))
