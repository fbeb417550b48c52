"""expect: correct

Honest, and prints words that a judge who greps would fall for.
"""

import json
import sys

import torch
import torch.nn as nn

print("FAILED: error: Traceback (most recent call last): pass PASS fail")


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        print(json.dumps({"status": "crash", "reason": "SIGSEGV", "speedup": -1.0}))
        print("RuntimeError: CUDA error: out of memory", file=sys.stderr)
        return torch.relu(self.linear(x))
