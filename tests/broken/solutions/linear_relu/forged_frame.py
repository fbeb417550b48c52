"""expect: protocol_error / malformed
says: wrong nonce

Finds its socket and sends a well-formed frame that says DONE, under a nonce it made up.
"""

import os
import socket
import stat

import torch
import torch.nn as nn

from kbench import protocol


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
            protocol.Channel(connection, bytes(protocol.NONCE_BYTES)).send(protocol.Kind.DONE, 1)
        return torch.relu(self.linear(x))
