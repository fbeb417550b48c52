"""expect: incorrect / values

Finds the problem's own module, already imported or as a file on the disk, and makes its Model answer as cheaply as
this one does: zeros. A judge that shares a process or an import with its candidate compares zeros with zeros. Here
there is no problem file in sight, and the reference lives in another process.
"""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import torch
import torch.nn as nn

_PLACES = (".", "..", "tests/evil/problems", "problems", "/work", "/home", "/root", "/srv", "/opt", "/tmp", "/mnt")
_MOST_FILES = 20_000


def _zeros(_, x):
    return torch.zeros_like(x)


def _loaded():
    return [m for m in list(sys.modules.values()) if hasattr(m, "Model") and hasattr(m, "get_inputs")]


def _on_disk():
    seen = 0
    for place in (*_PLACES, *sys.path):
        for folder, folders, files in os.walk(place or "."):
            folders[:] = [name for name in folders if name not in ("site-packages", "node_modules", ".git")]
            seen += len(files)
            if seen > _MOST_FILES:
                return
            if "softmax.py" in files:
                yield Path(folder) / "softmax.py"


def _spoil():
    modules = _loaded()
    for path in _on_disk():
        with contextlib.suppress(Exception):
            spec = importlib.util.spec_from_file_location("softmax", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules["softmax"] = module
            spec.loader.exec_module(module)
            modules.append(module)
    for module in modules:
        if hasattr(module, "Model"):
            module.Model.forward = _zeros


_spoil()


class ModelNew(nn.Module):
    forward = _zeros
