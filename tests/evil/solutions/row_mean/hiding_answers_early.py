"""expect: incorrect

Takes hold of the worker's own channel, and with it of the right nonce: from the second request on, it sends a
well-formed answer the moment the request arrives, a copy of the last true one with a smaller claim, then computes on
and swallows the true answer. Whoever reads the outputs when the answer comes finds the poison that the judge put
there.
"""

import dataclasses
import sys

import torch.nn as nn

from kbench import protocol

_honest = protocol.pack_sampled
protocol.pack_sampled = lambda answer: _honest(dataclasses.replace(answer, total_ns=answer.total_ns / 50))


def _serving():
    frame = sys._getframe()
    while "channel" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["channel"]


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        channel = _serving()
        receive, send, last, answered = channel.receive, channel.send, {}, set()

        def receive_and_answer(**options):
            request = receive(**options)
            if request.kind is protocol.Kind.SAMPLE and protocol.Kind.SAMPLED in last:
                answered.add(request.sequence)
                send(protocol.Kind.SAMPLED, request.sequence, last[protocol.Kind.SAMPLED])
            return request

        def send_unless_answered(kind, sequence, payload=b"", **options):
            last[kind] = payload
            if sequence not in answered:
                send(kind, sequence, payload, **options)

        channel.receive, channel.send = receive_and_answer, send_unless_answered

    def forward(self, x):
        return x.mean(dim=1)
