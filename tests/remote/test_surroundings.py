"""What the fork server is started with."""

from __future__ import annotations

import subprocess
import sys

from kbench.remote.surroundings import SERVER_MODULES, server_modules

_LOOK = """
import importlib, os, sys, threading, torch
def asked(): raise AssertionError("CUDA was asked for")
torch.cuda.is_available = torch.cuda.device_count = asked
if torch.backends.cuda.is_built():
    torch._C._cuda_getDeviceCount = asked
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not torch.cuda.is_initialized()
assert threading.active_count() == 1
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    sys.exit()
raise AssertionError("it has a child")
"""


def test_the_compiler_is_imported_only_where_it_is_a_baseline() -> None:
    assert server_modules(["eager"]) == SERVER_MODULES
    assert "kbench.worker.preload_compiler" in server_modules(["eager", "compile-max-autotune"])


def test_what_it_imports_can_be_forked() -> None:
    """No device in use, no thread of Python's, no child: none of these outlives a fork."""
    modules = server_modules(["eager", "compile"])
    done = subprocess.run([sys.executable, "-c", _LOOK, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
