"""expect: incorrect

Learns on the first calls what an answer looks like, and from then on sends it the moment a request arrives; it
computes and delivers afterwards, in the judge's own time, and swallows the late honest answer. Number and nonce are
right, the judge's window is as short as a message.
"""

import torch
import torch.nn as nn

from kbench import protocol

_send, _receive = protocol.Channel.send, protocol.Channel.receive
_HONEST_ANSWERS = 8
_learnt = {}
_asked = []
_answered = set()


def _hasty_receive(self, **options):
    frame = _receive(self, **options)
    _asked.append(frame.kind)
    kind, payload = _learnt.get(frame.kind, (None, b""))
    if kind is not None and _asked.count(frame.kind) > _HONEST_ANSWERS:
        _send(self, kind, frame.sequence, payload)
        _answered.add(frame.sequence)
    return frame


def _once(self, kind, sequence, payload=b"", **options):
    if sequence in _answered:
        return
    if _asked[-1] is protocol.Kind.SAMPLE:
        _learnt[_asked[-1]] = (kind, payload)
    _send(self, kind, sequence, payload, **options)


protocol.Channel.receive, protocol.Channel.send = _hasty_receive, _once


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
