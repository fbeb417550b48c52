"""expect: crash / exited

Leaves a child that holds every descriptor, the judge's socket among them, and exits: the judge must not wait for it.
"""

import os
import time

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        if os.fork() == 0:
            os.setsid()
            time.sleep(1e6)
        os._exit(0)
