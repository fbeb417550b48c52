"""expect: rejected / will_not_rest

Burning children again, on their guard against being stopped: each of them, thousands of times a second, sends SIGCONT
to every process it may, so that one that has just been stopped is woken by one that has not been yet. A side that is
not being measured must stand still, all of it at once.
"""

import ctypes
import mmap
import os
import subprocess

import torch.nn as nn

_SOURCE = r"""
#include <signal.h>
#include <unistd.h>
void burn(volatile int *busy) {
    volatile double x = 1;
    for (;;) {
        kill(-1, SIGCONT);
        if (*busy) usleep(50);
        else for (int i = 0; i < 2000; i++) x = x * 1.0000001 + 1e-9;
    }
}
"""

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_LIBRARY = f"{os.environ['TMPDIR']}/wake{os.getpid()}.so"
subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-xc", "-", "-o", _LIBRARY], input=_SOURCE, text=True, check=True)
_children = ctypes.CDLL(_LIBRARY)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.busy = ctypes.c_int.from_buffer(mmap.mmap(-1, 4096))
        for _ in range(8):
            if os.fork() == 0:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
                _children.burn(ctypes.byref(self.busy))

    def forward(self, a, b):
        self.busy.value = 1
        a @ b
        product = a @ b
        self.busy.value = 0
        return product
