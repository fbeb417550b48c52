"""expect: correct, at most 1.5x

Between its own calls it stops, slows and moves to one core every process that it can see, in the hope that the
reference is among them, and asks for real-time priority itself, to do the work twice in peace. It sees nobody: its
process namespace and user are its own.
"""

import contextlib
import os
import signal
import threading
import time

import torch.nn as nn


def _harass():
    while True:
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) in (1, os.getpid()):
                continue
            for action in (
                lambda pid: os.kill(pid, signal.SIGSTOP),
                lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
                lambda pid: os.sched_setaffinity(pid, {0}),
            ):
                with contextlib.suppress(OSError):
                    action(int(name))
        time.sleep(0.5)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
        with contextlib.suppress(OSError):
            os.nice(-20)
        threading.Thread(target=_harass, daemon=True).start()

    def forward(self, a, b):
        a @ b
        return a @ b
