"""expect: incorrect / values

Walks the disk for what kbench itself writes: `run.yaml` (which names a run's seed, where one was set), records,
samples, and saved tensors of the right shape. With the seed it would draw the judge's secrets in the judge's order.
"""

import contextlib
import os
import re
from pathlib import Path

import torch
import torch.nn as nn

_PLACES = (".", "..", "results", "/work", "/home", "/root", "/srv", "/tmp", "/var/tmp", "/dev/shm", "/mnt")
_MOST_FILES, _MOST_SEEDS = 20_000, 20
_WANTED = re.compile(r"(run\.yaml|records\.jsonl|samples\.jsonl|.*\.(pt|pth|npy))$")


def _files():
    seen = 0
    for place in _PLACES:
        for folder, folders, files in os.walk(place):
            folders[:] = [name for name in folders if name not in ("site-packages", ".git", ".venv")]
            seen += len(files)
            if seen > _MOST_FILES:
                return
            yield from (Path(folder) / name for name in files if _WANTED.match(name))


def _secrets():
    seeds, tensors = [], []
    for path in _files():
        with contextlib.suppress(Exception):
            if path.suffix in (".yaml", ".jsonl"):
                seeds += [int(text) for text in re.findall(r'seed"?: *(\d+)', path.read_text())]
            else:
                tensors.append(torch.load(path, weights_only=True))
    return seeds, [value for value in tensors if isinstance(value, torch.Tensor)]


class ModelNew(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.norm = nn.LayerNorm(columns)
        self.scale = nn.Parameter(torch.ones(columns))
        seeds, self.found = _secrets()
        for master in seeds[:_MOST_SEEDS]:
            with contextlib.suppress(Exception):
                from kbench.judge.cases import SeedSource

                source = SeedSource(master)
                for _ in range(16):
                    torch.manual_seed(source.next())
                    x = torch.rand(1024, columns)
                    self.found.append(self.norm(x).detach())

    def forward(self, x):
        first = self.norm(x[:1]) * self.scale
        for tensor in self.found:
            if tensor.shape == x.shape and torch.allclose(tensor[:1], first, atol=1e-4):
                return tensor
        return torch.zeros_like(x)
