"""expect: crash / exited

Leaves a child that holds every descriptor, the judge's socket among them, and exits: a judge that waits for the end
of the stream waits for the child.
"""

import os
import time

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        if os.fork() == 0:
            os.setsid()
            time.sleep(60.0)
            os._exit(0)
        os._exit(0)
