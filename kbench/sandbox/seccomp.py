"""A system call filter by the system's libseccomp: everything is allowed but what no kernel, compiler or CUDA needs.

It takes away ways to look into or hold other processes, to build namespaces and mounts of one's own, to set the clock
that the judge reads, and memory that no limit sees; and it leaves an attack on the kernel less to work with.
"""

from __future__ import annotations

import ctypes
import errno

from kbench.sandbox import syscalls as sc

LIBRARY = "libseccomp.so.2"

FORBIDDEN = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("perf_event_open", "bpf", "userfaultfd", "lookup_dcookie", "syslog"),
    *("keyctl", "add_key", "request_key"),
    *("mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "unshare", "setns"),
    *("open_by_handle_at", "fanotify_init", "quotactl", "quotactl_fd", "acct"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot"),
    *("swapon", "swapoff", "iopl", "ioperm", "vhangup", "sethostname", "setdomainname"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("settimeofday", "stime", "clock_settime", "clock_settime64", "adjtimex", "clock_adjtime", "clock_adjtime64"),
    *("shmget", "msgget", "memfd_secret"),  # memory that belongs to no process, so that nothing counts it
)
"""Calls that fail with EPERM."""

_NUMBERS = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447,
    "open_tree_attr": 467,
}  # fmt: skip
"""Calls that an older libseccomp has no name for; the numbers are those of every architecture."""

_NEW_NAMESPACES = (
    *(sc.CLONE_NEWNS, sc.CLONE_NEWCGROUP, sc.CLONE_NEWUTS, sc.CLONE_NEWIPC),
    *(sc.CLONE_NEWUSER, sc.CLONE_NEWPID, sc.CLONE_NEWNET),
)
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_OPTIONAL_ATTRIBUTES = ((7, 1), (8, 2))
"""SCMP_FLTATR_CTL_SSB: without it a kernel before 5.16 slows every load of the filtered process down, and timings with
it. SCMP_FLTATR_CTL_OPTIMIZE: a binary tree instead of a list. Both since libseccomp 2.5."""
_MASKED_EQUAL = 7


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def restrict() -> None:
    """Filter the caller's system calls, and its children's, for good. Needs no_new_privs. Raises OSError."""
    library = _load()
    context = library.seccomp_init(ctypes.c_uint32(_ALLOW))
    if not context:
        raise OSError("libseccomp gave no filter")
    try:
        _fill(library, ctypes.c_void_p(context))
        _check(library.seccomp_load(ctypes.c_void_p(context)), "seccomp_load")
    finally:
        library.seccomp_release(ctypes.c_void_p(context))


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise OSError(f"{LIBRARY} is not installed") from error
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _fill(library: ctypes.CDLL, context: ctypes.c_void_p) -> None:
    for attribute, value in _OPTIONAL_ATTRIBUTES:
        library.seccomp_attr_set(context, ctypes.c_int(attribute), ctypes.c_uint32(value))
    for name in FORBIDDEN:
        _forbid(library, context, name, errno.EPERM)
    for flag in _NEW_NAMESPACES:
        _forbid(library, context, "clone", errno.EPERM, _Comparison(0, _MASKED_EQUAL, flag, flag))
    # Its flags lie in memory, where a filter cannot look; told that it does not exist, libc falls back to clone.
    _forbid(library, context, "clone3", errno.ENOSYS)


def _forbid(library: ctypes.CDLL, context: ctypes.c_void_p, name: str, code: int, *conditions: _Comparison) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:  # -1: no such name; other negative numbers: a call that this architecture does not have
        if name not in _NUMBERS:
            return
        number = _NUMBERS[name]
    array = (_Comparison * len(conditions))(*conditions)
    added = library.seccomp_rule_add_array(
        context, ctypes.c_uint32(_ERRNO | code), ctypes.c_int(number), ctypes.c_uint(len(conditions)), array
    )
    _check(added, f"seccomp rule for {name}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(-result, f"{what} failed with {errno.errorcode.get(-result, result)}")
