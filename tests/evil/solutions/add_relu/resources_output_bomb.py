"""expect: correct, at most 2x

Prints two hundred megabytes without a single newline, most of it from a child that holds the same pipe, and then
computes honestly: a judge that collects output in memory, on the disk, or line by line, drowns in it.
"""

import os

import torch
import torch.nn as nn

_BLOCK = b"\x1b[2J\x00all work and no play" * 50_000


def _flood(megabytes):
    for _ in range(megabytes):
        os.write(1, _BLOCK)
        os.write(2, b"x")


if (_child := os.fork()) == 0:
    _flood(100)
    os._exit(0)
_flood(50)
os.waitpid(_child, 0)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
