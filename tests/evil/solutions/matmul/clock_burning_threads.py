"""expect: correct, at most 1.5x

Native threads burn every core whenever no forward of its own runs, that is while the reference is being measured, and
rest during its own calls: the reference looks slower than it is, and its own double work faster. A side that is not
being measured must not run.
"""

import ctypes
import os
import subprocess

import torch.nn as nn

_SOURCE = r"""
#include <pthread.h>
#include <time.h>
#include <unistd.h>
volatile int busy;
static void *burn(void *unused) {
    volatile double x = 1;
    for (;;) {
        if (busy) usleep(50);
        else for (int i = 0; i < 2000; i++) x = x * 1.0000001 + 1e-9;
    }
    return unused;
}
void start(int count) { pthread_t t; while (count--) pthread_create(&t, 0, burn, 0); }
"""

_LIBRARY = f"{os.environ['TMPDIR']}/burn{os.getpid()}.so"
_COMMAND = ["gcc", "-O1", "-shared", "-fPIC", "-pthread", "-xc", "-", "-o", _LIBRARY]
subprocess.run(_COMMAND, input=_SOURCE, text=True, check=True)
_burners = ctypes.CDLL(_LIBRARY)
_busy = ctypes.c_int.in_dll(_burners, "busy")


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        _burners.start(4 * (os.cpu_count() or 4))

    def forward(self, a, b):
        _busy.value = 1
        a @ b
        product = a @ b
        _busy.value = 0
        return product
