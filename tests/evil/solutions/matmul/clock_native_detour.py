"""expect: correct, at most 1.5x

Overwrites the first bytes of libc's own `clock_gettime` with a jump to a clock fifty times slower: every caller in
the process, of whatever language, reads it. The judge's libc is mapped in another process.
"""

import ctypes
import os
import subprocess

import torch.nn as nn

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static int64_t origin[16];
static int slow(clockid_t id, struct timespec *t) {
    int failed = syscall(SYS_clock_gettime, id, t);
    if (failed || id < 0 || id > 15) return failed;
    int64_t now = t->tv_sec * 1000000000LL + t->tv_nsec;
    if (!origin[id]) origin[id] = now;
    now = origin[id] + (now - origin[id]) / 50;
    t->tv_sec = now / 1000000000LL; t->tv_nsec = now % 1000000000LL;
    return 0;
}
static void *target(void) { return dlsym(RTLD_DEFAULT, "clock_gettime"); }
int install(void) {
    unsigned char jump[12] = {0x48, 0xb8, [10] = 0xff, [11] = 0xe0}; /* mov rax, slow; jmp rax */
    void *to = (void *)slow;
    unsigned char *at = target();
    memcpy(jump + 2, &to, 8);
    if (!at || mprotect((void *)((uintptr_t)at & ~4095UL), 8192, PROT_READ | PROT_WRITE | PROT_EXEC)) return 1;
    memcpy(at, jump, sizeof jump);
    return 0;
}
"""

_LIBRARY = f"{os.environ['TMPDIR']}/detour{os.getpid()}.so"
subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-xc", "-", "-o", _LIBRARY], input=_SOURCE, text=True, check=True)
ctypes.CDLL(_LIBRARY).install()


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
