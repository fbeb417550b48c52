"""expect: correct

Honest, and leaves folders in its scratch that do not want to be removed.
"""

import os
from pathlib import Path

import torch
import torch.nn as nn

_locked = Path("locked") / "more"
_locked.mkdir(parents=True)
(_locked / "file").write_text("stays")
(_locked / "link").symlink_to("/")
os.mkfifo(_locked / "fifo")
_locked.chmod(0)
_locked.parent.chmod(0)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
