"""Landlock: no file is made, changed or removed outside a few folders, whatever the mounts allow.

Reading stays free: what must not be read is hidden by mounts, and drivers lie in different places on each machine.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from kbench.sandbox import syscalls as sc

LEAST_VERSION = 2
"""Version 1 (Linux 5.13 to 5.18) forbids every rename from one folder to another, which compile caches live by."""

_WRITE_FILE = 1 << 1
_REMOVE = 1 << 4 | 1 << 5
_MAKE = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_TCP = 1 << 0 | 1 << 1
_SCOPES = 1 << 0 | 1 << 1
_TRUNCATE_VERSION, _TCP_VERSION, _SCOPES_VERSION = 3, 4, 6


def restrict(*, writable: Sequence[str], nodes: Sequence[str]) -> None:
    """Confine the caller for good. Needs no_new_privs. Raises OSError where the kernel has no fitting Landlock.

    Below the folders of `writable` everything is allowed; below those of `nodes`, files that exist may be written
    (device nodes, a thread's name in /proc). TCP and signals or abstract sockets to the outside go too where the
    kernel can forbid them; the network and PID namespaces say the same.
    """
    version = sc.landlock_version()
    if version < LEAST_VERSION:
        raise OSError(f"the kernel's Landlock has version {version}, and {LEAST_VERSION} is needed")
    write = _WRITE_FILE | (_TRUNCATE if version >= _TRUNCATE_VERSION else 0)
    everything = write | _REMOVE | _MAKE | _REFER
    ruleset = sc.landlock_create(_attributes(everything, version))
    try:
        for folders, access in ((writable, everything), (nodes, write)):
            for folder in folders:
                _allow(ruleset, folder, access)
        sc.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)


def _attributes(files: int, version: int) -> bytes:
    if version >= _SCOPES_VERSION:
        return struct.pack("=QQQ", files, _TCP, _SCOPES)
    if version >= _TCP_VERSION:
        return struct.pack("=QQ", files, _TCP)
    return struct.pack("=Q", files)


def _allow(ruleset: int, folder: str, access: int) -> None:
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:  # no such folder, so nothing to allow in it
        return
    try:
        sc.landlock_allow(ruleset, descriptor, access)
    finally:
        os.close(descriptor)
