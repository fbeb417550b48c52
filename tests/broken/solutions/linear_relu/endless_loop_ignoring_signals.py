"""expect: timeout / call

Never returns, and ignores every signal that can be ignored.
"""

import contextlib
import signal

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        for number in signal.valid_signals():
            with contextlib.suppress(OSError):
                signal.signal(number, signal.SIG_IGN)
        while True:
            pass
