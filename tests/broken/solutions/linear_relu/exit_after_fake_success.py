"""expect: crash / exited
says: exited with code 0 while forward ran, without answering

Says on every descriptor that all is well, and leaves with success.
"""

import contextlib
import json
import os

import torch.nn as nn

_RECORD = {
    "schema_version": 1, "problem": "linear_relu", "solution": "exit_after_fake_success", "device": "cpu",
    "status": "correct", "speedup": 1000.0, "time_ms": 0.001, "reference_ms": 1.0,
}  # fmt: skip


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        line = ("PASS\n" + json.dumps(_RECORD) + "\n").encode()
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                os.write(descriptor, line)
        os._exit(0)
