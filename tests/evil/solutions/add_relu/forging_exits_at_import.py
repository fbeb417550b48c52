"""expect: crash / exited

Says that all is well and leaves with success before there is anything to judge: a driver that goes by the exit code
of its worker, or takes the last line of its output for the result, has nothing to complain of.
"""

import json
import os

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        return a


print(json.dumps({"status": "correct", "correct": True, "speedup": 1000.0}), flush=True)
os._exit(0)
