"""expect: protocol_error / malformed

Finds its sockets among its descriptors and sends well-formed frames that say DONE, under a nonce it made up.
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
    def forward(self, a, b):
        for connection in _sockets():
            for sequence in range(1, 50):
                protocol.Channel(connection, bytes(protocol.NONCE_BYTES)).send(protocol.Kind.DONE, sequence)
        return torch.relu(a + b)
