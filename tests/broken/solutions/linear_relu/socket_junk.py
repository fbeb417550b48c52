"""expect: protocol_error / malformed
says: a frame began with

Finds its socket and writes junk into it.
"""

import os
import socket
import stat

import torch
import torch.nn as nn


def _sockets():
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                yield socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        for connection in _sockets():
            connection.sendall(b'{"status": "correct", "speedup": 1000.0}\n' * 100)
        return torch.relu(self.linear(x))
