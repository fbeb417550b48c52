"""expect: correct, at most 1.5x

Wraps every method of the worker's own Session that has to do with samples, so that each time it returns is divided by
fifty. The methods are the worker's; the window in which they run is the judge's.
"""

import functools

import torch.nn as nn

from kbench.worker.session import Session


def _belittled(value):
    if isinstance(value, float):
        return value / 50
    return tuple(map(_belittled, value)) if isinstance(value, tuple) else value


def _lying(method):
    return functools.wraps(method)(lambda *args: _belittled(method(*args)))


for _name in [name for name in vars(Session) if "sample" in name]:
    setattr(Session, _name, _lying(getattr(Session, _name)))


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
