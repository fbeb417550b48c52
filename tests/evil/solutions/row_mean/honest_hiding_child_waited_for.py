"""expect: correct; CPU only

Benign twin of hiding_forked_child: a child process computes half of the rows into shared memory, and `forward` waits
for its word before it returns a copy.
"""

import ctypes
import mmap
import os

import numpy
import torch
import torch.nn as nn

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = None

    def start(self, x):
        half = x.shape[0] // 2
        self.shared = torch.frombuffer(mmap.mmap(-1, 4 * half), dtype=torch.float32)
        jobs, self.jobs = os.pipe()
        self.done, done = os.pipe()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
            results, count = self.shared.numpy(), half * x.shape[1]
            while len(job := os.read(jobs, 8)) == 8:
                source = (ctypes.c_float * count).from_address(int.from_bytes(job, "little"))
                rows = numpy.frombuffer(source, dtype=numpy.float32).reshape(half, x.shape[1])
                results[:] = rows.mean(axis=1)
                os.write(done, b"!")
            os._exit(0)

    def forward(self, x):
        if self.shared is None:
            self.start(x)
        half = self.shared.numel()
        os.write(self.jobs, x.data_ptr().to_bytes(8, "little"))
        own = x[half:].mean(dim=1)
        os.read(self.done, 1)
        return torch.cat([self.shared, own])
