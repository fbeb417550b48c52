"""expect: timeout / call

Never returns, holds on to the interpreter, and ignores every signal that can be ignored: a polite request to stop, or
an exception raised in another thread, does nothing.
"""

import contextlib
import signal

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        for number in signal.valid_signals():
            with contextlib.suppress(OSError):
                signal.signal(number, signal.SIG_IGN)
        while True:
            pass
