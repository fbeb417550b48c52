"""expect: crash / SIGABRT
says: while forward ran

Ends as a failed assertion in native code does.
"""

import os

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        os.abort()
