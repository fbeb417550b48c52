"""Who a worker is: a user of its own where we are root, else ourselves in a user namespace without any rights."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kbench.sandbox import syscalls as sc

_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID = 0, 6, 7
_NEEDED = 1 << _CAP_CHOWN | 1 << _CAP_SETGID | 1 << _CAP_SETUID
_MORE_CAPABILITIES_THAN_EXIST = 64


def can_become(uid: int) -> bool:
    """We may hand folders to the user `uid` and become it: root, unless a container took that right away."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    rights = int(status["CapEff"], 16)
    mapped = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return rights & _NEEDED == _NEEDED and any(first <= uid < first + count for first, _, count in mapped)


def enter_user_namespace() -> None:
    """Become the same user in a namespace of our own, where we hold all rights and elsewhere none. Raises OSError.

    Tried first in a child: some systems grant the namespace and refuse the mapping, and there is no way back.
    """
    child = os.fork()
    if child == 0:
        try:
            _enter()
        except OSError as error:
            os._exit(error.errno or 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise OSError(code, os.strerror(code))
    _enter()


def _enter() -> None:
    uid, gid = os.geteuid(), os.getegid()
    sc.unshare(sc.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")  # without this a plain user may map no group
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def become(uid: int) -> None:
    """Take the identity `uid` for good. Raises OSError."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def bound_capabilities() -> None:
    """Let no executed file grant any. Harmless where that takes a right we do not have: no_new_privs says the same."""
    for capability in range(_MORE_CAPABILITIES_THAN_EXIST):
        with contextlib.suppress(OSError):
            sc.prctl(sc.PR_CAPBSET_DROP, capability)
