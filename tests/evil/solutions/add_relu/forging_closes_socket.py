"""expect: crash / exited

Closes the socket to the judge in the middle of a call and goes on for a while as if it had answered, in the hope that
silence counts for something: an optimistic driver takes no complaint for success.
"""

import os
import stat
import time

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        for name in os.listdir("/proc/self/fd"):
            try:
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    os.close(int(name))
            except OSError:
                continue
        time.sleep(1.0)
        return torch.relu(a + b)
