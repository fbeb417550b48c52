"""expect: correct, at most 1.5x

Native code walks every loaded library and points its entry for `clock_gettime` at a clock fifty times slower, so that
even a timer whose Python names nobody touched reads it. The judge's clock is in another process.
"""

import ctypes
import os
import subprocess

import torch.nn as nn

_SOURCE = r"""
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
static int (*honest)(clockid_t, struct timespec *) = clock_gettime;
static int64_t origin[16];
static int slow(clockid_t id, struct timespec *t) {
    int failed = honest(id, t);
    if (failed || id < 0 || id > 15) return failed;
    int64_t now = t->tv_sec * 1000000000LL + t->tv_nsec;
    if (!origin[id]) origin[id] = now;
    now = origin[id] + (now - origin[id]) / 50;
    t->tv_sec = now / 1000000000LL; t->tv_nsec = now % 1000000000LL;
    return 0;
}
static void patch(uintptr_t base, ElfW(Rela) *r, size_t bytes, ElfW(Sym) *symbols, const char *names) {
    for (size_t i = 0; r && i < bytes / sizeof *r; i++) {
        if (strcmp(names + symbols[ELF64_R_SYM(r[i].r_info)].st_name, "clock_gettime")) continue;
        void **slot = (void **)(base + r[i].r_offset);
        mprotect((void *)((uintptr_t)slot & ~4095UL), 4096, PROT_READ | PROT_WRITE);
        *slot = (void *)slow;
    }
}
static int visit(struct dl_phdr_info *info, size_t size, void *own) {
    if (!info->dlpi_name || strstr(info->dlpi_name, "vdso") || strstr(info->dlpi_name, "got_patch")) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
        ElfW(Rela) *plt = 0, *data = 0; size_t plt_bytes = 0, data_bytes = 0;
        ElfW(Sym) *symbols = 0; const char *names = 0;
        for (ElfW(Dyn) *d = (void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr); d->d_tag; d++) {
            if (d->d_tag == DT_JMPREL) plt = (void *)d->d_un.d_ptr;
            if (d->d_tag == DT_RELA) data = (void *)d->d_un.d_ptr;
            if (d->d_tag == DT_PLTRELSZ) plt_bytes = d->d_un.d_val;
            if (d->d_tag == DT_RELASZ) data_bytes = d->d_un.d_val;
            if (d->d_tag == DT_SYMTAB) symbols = (void *)d->d_un.d_ptr;
            if (d->d_tag == DT_STRTAB) names = (void *)d->d_un.d_ptr;
        }
        patch(info->dlpi_addr, plt, plt_bytes, symbols, names);
        patch(info->dlpi_addr, data, data_bytes, symbols, names);
    }
    return 0;
}
void install(void) { dl_iterate_phdr(visit, 0); }
"""

_LIBRARY = f"{os.environ['TMPDIR']}/got_patch_{os.getpid()}.so"
subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-xc", "-", "-o", _LIBRARY], input=_SOURCE, text=True, check=True)
ctypes.CDLL(_LIBRARY).install()


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
