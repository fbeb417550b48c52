"""expect: correct, at most 2x

Compiles a library whose `clock_gettime` runs ten times too fast and puts it into LD_PRELOAD, for every process that
is started from its environment: a reference timed in one of them would look ten times slower.
"""

import os
import subprocess
from pathlib import Path

import torch.nn as nn
import torch.nn.functional as F

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
typedef int (*clock_function)(clockid_t, struct timespec *);
int clock_gettime(clockid_t clock, struct timespec *now) {
  static clock_function stock;
  if (!stock) stock = (clock_function)dlsym(RTLD_NEXT, "clock_gettime");
  int code = stock(clock, now);
  if (clock == CLOCK_MONOTONIC) {
    long long ns = (now->tv_sec % 100000 * 1000000000LL + now->tv_nsec) * 10;
    now->tv_sec = ns / 1000000000LL;
    now->tv_nsec = ns % 1000000000LL;
  }
  return code;
}
"""
_folder = Path(os.environ.get("TMPDIR", "/tmp"))
_source, _library = _folder / "fast_clock.c", _folder / "fast_clock.so"
_source.write_text(_SOURCE)
subprocess.run(["gcc", "-O1", "-shared", "-fPIC", str(_source), "-o", str(_library), "-ldl"], check=True)
os.environ["LD_PRELOAD"] = str(_library)
os.environ["LD_LIBRARY_PATH"] = str(_folder)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x))
