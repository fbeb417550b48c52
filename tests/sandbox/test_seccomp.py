"""What the system call filter stops by itself, without any other wall, and what it lets through."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kbench.sandbox import seccomp
from kbench.sandbox import syscalls as sc
from sandbox.child import in_child

LEFT_OUT = {"vhangup"}
"""Unfiltered, it would do what it says."""
LIBC = ctypes.CDLL(None, use_errno=True)


def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(seccomp.LIBRARY)
    except OSError:
        return None


LIBRARY = _library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason=f"{seccomp.LIBRARY} is not installed")


def filtered() -> None:
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.restrict()


def numbers() -> Iterator[tuple[str, int]]:
    assert LIBRARY is not None
    for name in set(seccomp.FORBIDDEN) - LEFT_OUT:
        if (number := LIBRARY.seccomp_syscall_resolve_name(name.encode())) >= 0:
            yield name, number


def call(number: int, *arguments: int) -> str:
    result = LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "done"


def call_all_with_nonsense() -> Mapping[str, str]:
    """Arguments that no call accepts, so that an unfiltered one fails for another reason and does nothing."""
    return {name: call(number, *[-1] * 6) for name, number in numbers()}


def test_every_forbidden_call_is_refused() -> None:
    def run() -> Any:
        filtered()
        return call_all_with_nonsense()

    assert set(in_child(run).values()) == {"EPERM"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user may not make these calls anyway")
def test_it_is_the_filter_that_refuses_them() -> None:
    bare = in_child(call_all_with_nonsense)
    assert len(bare) > 40
    refused = {name for name, said in bare.items() if said == "EPERM"}
    assert len(refused) < len(bare) / 4, f"something here refuses them already: {refused}"


def test_no_child_in_new_namespaces() -> None:
    assert LIBRARY is not None
    clone = LIBRARY.seccomp_syscall_resolve_name(b"clone")

    def run() -> Any:
        filtered()
        return [call(clone, flag | signal.SIGCHLD, 0, 0, 0, 0) for flag in (sc.CLONE_NEWUSER, sc.CLONE_NEWPID)]

    assert in_child(run) == ["EPERM", "EPERM"]


def test_processes_threads_and_programs_start_as_ever() -> None:
    def run() -> Any:
        filtered()
        seen: list[str] = []
        thread = threading.Thread(target=seen.append, args=("thread",))
        thread.start()
        thread.join()
        ran = subprocess.run(["/bin/echo", "program"], capture_output=True, text=True, check=True)
        return [*seen, ran.stdout.strip(), in_child(lambda: "fork")]

    assert in_child(run) == ["thread", "program", "fork"]


def test_without_the_library_the_layer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "LIBRARY", "libseccomp.so.none")
    with pytest.raises(OSError, match="libseccomp.so.none is not installed"):
        seccomp.restrict()
