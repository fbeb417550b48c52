"""expect: timeout / call | out_of_memory / memory_limit

Forks until the limit of processes stops it; the children do the same.
"""

import os
import time

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.1)
