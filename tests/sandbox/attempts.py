"""What a hostile worker tries, run inside the sandbox by the fork server. Each attempt returns what came of it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kbench.sandbox import syscalls as sc
from sandbox.child import outcome

MB = 1 << 20
_PTRACE_ATTACH = 16


def run(task: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Target of the fork server: make the attempts of `task`, write their outcomes to the one descriptor."""
    told = {name: outcome(partial(ATTEMPTS[name], *arguments)) for name, arguments in task["attempts"].items()}
    os.write(descriptors[0], json.dumps(told).encode())


def write_outside(folder: str) -> str:
    Path(folder, "from-the-worker").write_text("x")
    return "written"


def write_where_allowed() -> str:
    for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
        if Path(folder).is_dir():
            Path(folder, "from-the-worker").write_text("x")
    Path("/dev/null").write_text("x")
    return subprocess.run(["/bin/echo", "wrote"], capture_output=True, text=True, check=True).stdout.strip()


def write_to_node(path: str) -> str:
    with Path(path).open("wb", buffering=0) as node:
        node.write(b"x")
    return "swallowed"


def read(path: str) -> str:
    return Path(path).read_text()


def names(folder: str) -> list[str]:
    return sorted(os.listdir(folder))


def connect_tcp(port: int) -> str:
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    return "connected"


def connect_named(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return "connected"


def processes() -> int:
    return len([name for name in os.listdir("/proc") if name.isdigit()])


def environments() -> str:
    """Everything that the environments of all visible processes hold, as far as they can be read."""
    numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    return "\n".join([repr(dict(os.environ)), *(str(outcome(partial(read, f"/proc/{n}/environ"))) for n in numbers)])


def descriptors() -> list[int]:
    found = []
    for number in range(4096):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def attach_to_init() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(_PTRACE_ATTACH, 1, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return "attached"


def init_memory() -> str:
    with Path("/proc/1/mem").open("rb"):
        return "opened"


def mount() -> None:
    sc.mount("tmpfs", "/tmp", "tmpfs", 0)


def unshare_users() -> None:
    sc.unshare(sc.CLONE_NEWUSER)


def become_root() -> None:
    os.setresuid(0, 0, 0)


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def hide_memory(megabytes: int) -> None:
    """In files without a name, mapped nowhere."""
    for number in range(megabytes // 16):
        with_no_name = os.memfd_create(str(number))
        os.write(with_no_name, bytes(16 * MB))
    signal.pause()


def fill_shared_memory(megabytes: int) -> None:
    with Path("/dev/shm/bomb").open("wb") as file:
        for _ in range(megabytes):
            file.write(bytes(MB))
    signal.pause()


def fill_disk(megabytes: int) -> None:
    Path("bomb").write_bytes(bytes(megabytes * MB))
    signal.pause()


def fill_disk_unseen(megabytes: int) -> None:
    """In a file that no folder names any more."""
    with Path("bomb").open("wb") as file:
        Path("bomb").unlink()
        file.write(bytes(megabytes * MB))
        file.flush()
        signal.pause()


def start_processes(count: int) -> Any:
    started = 0
    try:
        for _ in range(count):
            if os.fork() == 0:
                signal.pause()
            started += 1
    except OSError:
        return started
    signal.pause()
    return started


def nest_folders(depth: int) -> None:
    here = os.open(".", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    signal.pause()


ATTEMPTS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(write_outside, write_where_allowed, write_to_node, read, names, connect_tcp, connect_named, processes),
        *(environments, descriptors, kill, attach_to_init, init_memory, mount, unshare_users, become_root, status),
        *(hide_memory, fill_shared_memory, fill_disk, fill_disk_unseen, start_processes, nest_folders),
    )
}
