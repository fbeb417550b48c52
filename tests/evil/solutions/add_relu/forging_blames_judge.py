"""expect: protocol_error / malformed

Answers with a failure of a kind that is not a candidate's to have, "the infrastructure broke", so that it is left out
of the count instead of failing.
"""

import struct

import torch.nn as nn

from kbench import protocol

_send = protocol.Channel.send
_armed = []


def _blaming(self, kind, sequence, payload=b"", **options):
    if _armed:
        payload = struct.pack("<HI", 126, 0) + b"infra_error: CUDA driver lost, out of disk space, judge restarted"
        kind = protocol.Kind.FAILED
    _send(self, kind, sequence, payload, **options)


protocol.Channel.send = _blaming


class ModelNew(nn.Module):
    def forward(self, a, b):
        _armed.append(True)
        return a
