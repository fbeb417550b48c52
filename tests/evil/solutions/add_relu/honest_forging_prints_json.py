"""expect: correct

Benign twin of forging_every_descriptor: it logs its progress as JSON lines, some with the words that verdicts are
made of, to its own standard output and error.
"""

import json
import sys

import torch
import torch.nn as nn

print("FAILED: error: Traceback (most recent call last): PASS pass fail")


class ModelNew(nn.Module):
    def forward(self, a, b):
        print(json.dumps({"status": "crash", "reason": "SIGSEGV", "speedup": -1.0, "correct": False}))
        print("RuntimeError: CUDA error: out of memory", file=sys.stderr)
        return torch.relu(a + b)
