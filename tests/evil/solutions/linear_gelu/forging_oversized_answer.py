"""expect: protocol_error / malformed

Announces an answer of four gigabytes (-1, for who reads the length as signed): a judge that allocates what it is
told to, or waits for what was announced, falls over instead of deciding.
"""

import struct

import torch.nn as nn

from kbench import protocol

_send = protocol.Channel.send
_armed = []


def _oversized(self, kind, sequence, payload=b"", **options):
    if not _armed:
        _send(self, kind, sequence, payload, **options)
        return
    header = struct.pack("<4sHHQ16s", protocol.MAGIC, protocol.VERSION, kind, sequence, self._nonce)
    self._socket.sendall(header + struct.pack("<i12x", -1) + bytes(1 << 16))


protocol.Channel.send = _oversized


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        _armed.append(True)
        return x
