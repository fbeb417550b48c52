"""expect: load_error / import

Raises SystemExit with success at import, past every `except Exception`, and has an exit handler print the verdict.
"""

import atexit
import sys

import torch.nn as nn

atexit.register(print, '{"status": "correct", "correct": true, "speedup": 1000.0}', flush=True)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return a


sys.exit(0)
