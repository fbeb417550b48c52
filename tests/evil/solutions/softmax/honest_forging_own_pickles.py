"""expect: correct

Benign twin of forging_pickles: it keeps a table of tuned tile sizes in a pickle of its own, in its own temporary
folder, and talks to itself over a pipe.
"""

import os
import pickle
import tempfile
from multiprocessing import Pipe
from pathlib import Path

import torch
import torch.nn as nn

_path = Path(tempfile.gettempdir()) / f"tiles-{os.getpid()}.pickle"
_path.write_bytes(pickle.dumps({"rows": 128}))
_near, _far = Pipe()
_near.send(pickle.loads(_path.read_bytes()))
_TILES = _far.recv()


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.cat([torch.softmax(part, dim=1) for part in x.split(_TILES["rows"])])
