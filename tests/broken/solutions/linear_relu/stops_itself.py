"""expect: timeout / call

Stops its own process: no answer, no crash, no processor time.
"""

import os
import signal

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        os.kill(os.getpid(), signal.SIGSTOP)
        return x
