"""expect: protocol_error / malformed

Writes PASS, a perfect score and a whole record on every descriptor that is open, whoever may read there, and leaves
with success before anything can be compared.
"""

import contextlib
import json
import os

import torch.nn as nn

_RECORD = {
    "schema_version": 1, "problem": "add_relu", "solution": "forging_every_descriptor", "device": "cpu", "size": "full",
    "precision": "fp32", "status": "correct", "correct": True, "speedup": 1000.0, "time_ms": 0.001,
}  # fmt: skip


class ModelNew(nn.Module):
    def forward(self, a, b):
        line = ("\nPASS\n1.0\n" + json.dumps(_RECORD) + "\n").encode()
        for descriptor in range(1, 256):
            with contextlib.suppress(OSError):
                os.write(descriptor, line)
        os._exit(0)
