"""expect: incorrect / values; CPU only

The output's storage is memory shared with a forked child, which computes the mean there after `forward` has returned:
no thread of the harness's process does any work. The outputs are delivered before the child is done.
"""

import ctypes
import mmap
import os
import time

import numpy
import torch
import torch.nn as nn

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_SLOTS = 4096


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = None
        self.calls = 0

    def start(self, x):
        rows = x.shape[0]
        self.memory = torch.frombuffer(mmap.mmap(-1, 4 * rows * _SLOTS), dtype=torch.float32).view(_SLOTS, rows)
        self.jobs, jobs = os.pipe()[::-1]
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
            results = self.memory.numpy()
            while len(job := os.read(jobs, 16)) == 16:
                address, slot = numpy.frombuffer(job, dtype=numpy.int64)
                time.sleep(0.02)
                source = (ctypes.c_float * x.numel()).from_address(int(address))
                results[slot] = numpy.frombuffer(source, dtype=numpy.float32).reshape(x.shape).mean(axis=1)
            os._exit(0)

    def forward(self, x):
        if self.memory is None:
            self.start(x)
        self.calls += 1
        slot = self.calls % _SLOTS
        os.write(self.jobs, numpy.array([x.data_ptr(), slot], dtype=numpy.int64).tobytes())
        return self.memory[slot]
