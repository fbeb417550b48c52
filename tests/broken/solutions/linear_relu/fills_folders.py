"""expect: correct

Honest, and leaves files wherever it may write.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import torch
import torch.nn as nn

for _folder in (".", tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", str(Path.home()), "/", "/etc"):
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile("wb", dir=_folder, delete=False) as _file:
        _file.write(os.urandom(1 << 20) * 32)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
