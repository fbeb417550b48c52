"""expect: timeout / call

Finds the worker's own channel on the stack, sends half a header, and sleeps.
"""

import sys
import time

import torch.nn as nn


def _frame_with(*names):
    frame = sys._getframe()
    while not all(name in frame.f_locals for name in names):
        frame = frame.f_back
    return frame.f_locals


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        _frame_with("channel", "request", "worker")["channel"]._socket.sendall(b"KBW1")
        time.sleep(1e6)
