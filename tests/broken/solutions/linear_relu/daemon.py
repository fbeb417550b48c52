"""expect: correct

Honest, but leaves a daemon behind: forked twice, in a session of its own, deaf to signals.
"""

import subprocess
import sys

import torch
import torch.nn as nn

_DAEMON = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1e6)
"""

subprocess.run([sys.executable, "-c", _DAEMON, "kbench-broken-suite-daemon"], check=True, stdout=subprocess.DEVNULL)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
