"""expect: correct, at most 1.5x

Forked children stream through memory whenever no forward of its own runs, so that the reference finds the bandwidth
and the caches taken while it is measured; its own work is done twice over. A side that is not being measured must not
run, its children included.
"""

import ctypes
import mmap
import os
import subprocess

import torch.nn as nn

_SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
void hog(volatile int *busy) {
    size_t size = 48u << 20;
    char *a = malloc(size), *b = malloc(size);
    for (;;) {
        for (size_t at = 0; at < size && !*busy; at += 65536) memcpy(a + at, b + at, 65536);
        if (*busy) usleep(50);
    }
}
"""

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_LIBRARY = f"{os.environ['TMPDIR']}/hog{os.getpid()}.so"
subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-xc", "-", "-o", _LIBRARY], input=_SOURCE, text=True, check=True)
_hogs = ctypes.CDLL(_LIBRARY)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.busy = ctypes.c_int.from_buffer(mmap.mmap(-1, 4096))
        for _ in range(min(os.cpu_count() or 4, 8)):
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
                _hogs.hog(ctypes.byref(self.busy))

    def forward(self, x):
        self.busy.value = 1
        x.mean(dim=1)
        mean = x.mean(dim=1)
        self.busy.value = 0
        return mean
