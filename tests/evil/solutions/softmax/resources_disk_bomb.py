"""expect: correct, at most 2x

Writes thousands of small files wherever it may write, reserves a great file beside them, and goes on when it is told
that there is no more room. Where sixteen gigabytes can be reserved in one file, nothing limits it, and it stops.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import torch
import torch.nn as nn

_FILES, _FILE_BYTES = 500, 64 << 10
_RESERVED_BYTES = 16 << 30

for _place in (".", tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", str(Path.home()), "/", "/etc"):
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=_place) as _file:
        os.posix_fallocate(_file.fileno(), 0, _RESERVED_BYTES)
        raise RuntimeError(f"sixteen gigabytes of {_place} could be reserved")
    with contextlib.suppress(OSError):
        _folder = tempfile.mkdtemp(dir=_place)
        for _number in range(_FILES):
            (Path(_folder) / str(_number)).write_bytes(bytes(_FILE_BYTES))


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
