"""expect: protocol_error / malformed
says: announced 4294967295 bytes

Finds the worker's own channel on the stack and announces an answer of four gigabytes.
"""

import struct
import sys

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
        server = _frame_with("channel", "request", "worker")
        channel, sequence = server["channel"], server["request"].sequence
        header = struct.pack("<4sHHQ16sI12x", b"KBW1", 1, 65, sequence, channel._nonce, 0xFFFFFFFF)
        channel._socket.sendall(header)
        return x
