"""expect: incorrect

Learns on the first calls what an answer looks like, and from then on sends it the moment a request arrives; it
computes and delivers afterwards, in the judge's own time, and swallows the late honest answer. Number and nonce are
right, the judge's window is as short as a message.
"""

import torch
import torch.nn as nn

from kbench import protocol

_send, _receive = protocol.Channel.send, protocol.Channel.receive
_HONEST_SAMPLES = 8
_samples = []
_learnt = {}
_answered = set()


def _hasty_receive(self, **options):
    frame = _receive(self, **options)
    if frame.kind is protocol.Kind.SAMPLE:
        _samples.append(frame.sequence)
        known = _learnt.get(frame.payload[:4])
        if known is not None and len(_samples) > _HONEST_SAMPLES:
            _send(self, protocol.Kind.SAMPLED, frame.sequence, known)
            _answered.add(frame.sequence)
        _learnt["asked"] = frame.payload[:4]
    return frame


def _once(self, kind, sequence, payload=b"", **options):
    if sequence in _answered:
        return
    if kind is protocol.Kind.SAMPLED:
        _learnt[_learnt["asked"]] = payload
    _send(self, kind, sequence, payload, **options)


protocol.Channel.receive, protocol.Channel.send = _hasty_receive, _once


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
