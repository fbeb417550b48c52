"""expect: protocol_error / malformed

Sends every answer twice, from its first call on: where answers are taken from a queue, the second one answers the
next request, whose work need not be done any more.
"""

import torch
import torch.nn as nn

from kbench import protocol

_send = protocol.Channel.send
_armed = []


def _twice(self, *message, **options):
    if _armed:
        _send(self, *message, **options)
    _send(self, *message, **options)


protocol.Channel.send = _twice


class ModelNew(nn.Module):
    def forward(self, a, b):
        _armed.append(True)
        return torch.relu(a + b)
