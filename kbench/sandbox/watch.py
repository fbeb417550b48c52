"""What a confined process tree uses: memory, disk, tasks. Read from outside, so nothing in the tree can prevent it.

Three pages of memory escape: descriptors on their way between two processes, and shared pages that were unmapped or
let go of while some mapping of their file remains. A cgroup around all of kbench bounds those.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kbench.sandbox.confine import Limits
from kbench.sandbox.mounts import TEMPORARY

_BLOCK_BYTES = 512
"""The unit of st_blocks, on every file system."""
_DISK_POLL_S = 1.0
_LEAST_REST = 50
"""The disk is looked at for at most one part in so many of the time, since timings run beside it."""

FileId = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """The descriptors that the judge handed over, whose memory is not the worker's."""

    size_bytes: int
    files: frozenset[FileId]


def given(descriptors: Sequence[int]) -> Given:
    """What lies behind `descriptors`."""
    stats = [os.fstat(descriptor) for descriptor in descriptors]
    return Given(size_bytes=sum(s.st_size for s in stats), files=frozenset((s.st_dev, s.st_ino) for s in stats))


class Gauge:
    """Holds one tree against its limits."""

    def __init__(self, init: int, scratch: str, limits: Limits, given: Given) -> None:
        self._init = init
        self._scratch = scratch
        self._limits = limits
        self._given = given
        self._next_disk_look = 0.0
        self.peak_bytes = 0

    def exceeded(self) -> str:
        """The first limit that is passed: `memory`, `processes` or `disk`; empty while all are kept."""
        processes = tree(self._init)
        unnamed = _unnamed_files(processes, but=self._given.files)
        disk_device = _device(self._scratch)
        used = self._memory_bytes(processes, unnamed, disk_device)
        self.peak_bytes = max(self.peak_bytes, used)
        if used > self._limits.memory_bytes:
            return "memory"
        if sum(len(_tasks(pid)) for pid in processes[1:]) > self._limits.processes:  # init is ours
            return "processes"
        on_disk = sum(size for (device, _), size in unnamed.items() if device == disk_device)
        return "disk" if self._over_disk(on_disk) else ""

    def _memory_bytes(self, processes: Sequence[int], unnamed: dict[FileId, int], disk_device: int) -> int:
        """Private pages, and shared ones by the larger of two counts: what is mapped, and what is held by a file.

        The two overlap (a mapped file in /dev/shm), so that their sum would be unfair.
        """
        sizes = [_resident(pid) for pid in processes]
        mapped = sum(max(0, shared - self._given.size_bytes) for _, shared in sizes)
        temporary = self._temporary_folders()
        held = sum(temporary.values())
        held += sum(size for (dev, _), size in unnamed.items() if dev not in temporary and dev != disk_device)
        return sum(private for private, _ in sizes) + max(mapped, held)

    def _temporary_folders(self) -> dict[int, int]:
        """Bytes in each temporary folder that is the tree's own, by its device: as its init sees it, and we do not."""
        found: dict[int, int] = {}
        for folder in TEMPORARY:
            theirs = f"/proc/{self._init}/root{folder}"
            with contextlib.suppress(OSError):
                device = Path(theirs).stat().st_dev
                if device != Path(folder).stat().st_dev:
                    usage = os.statvfs(theirs)
                    found[device] = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        return found

    def _over_disk(self, unnamed_bytes: int) -> bool:
        start = time.monotonic()
        if start < self._next_disk_look:
            return False
        over = exceeds(self._scratch, bytes_left=self._limits.scratch_bytes - unnamed_bytes, limits=self._limits)
        end = time.monotonic()
        self._next_disk_look = end + max(_DISK_POLL_S, _LEAST_REST * (end - start))
        return over


def exceeds(folder: str, *, bytes_left: int, limits: Limits) -> bool:
    """Whether the files below `folder` take more than `bytes_left` of the disk, or are more than the limit.

    Folders nested so deeply that their path cannot be opened count as too many: nothing honest makes those.
    """
    seen: set[FileId] = set()
    todo = [folder]
    try:
        while todo:
            for path, found in _entries(todo.pop()):
                identity = (found.st_dev, found.st_ino)
                if identity in seen:  # one file may have many names
                    continue
                seen.add(identity)
                bytes_left -= found.st_blocks * _BLOCK_BYTES
                if bytes_left < 0 or len(seen) > limits.scratch_files:
                    return True
                if stat.S_ISDIR(found.st_mode):
                    todo.append(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return bytes_left < 0


def _entries(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """What lies in a folder, without what is just being removed. Raises OSError for a path that is too long."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    yield entry.path, entry.stat(follow_symlinks=False)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return


def tree(root: int) -> list[int]:
    """`root` and all its living descendants, by the kernel's own lists of children."""
    found: list[int] = []
    todo = [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for task in _tasks(pid):
            with contextlib.suppress(OSError):
                todo += [int(child) for child in _read(f"/proc/{pid}/task/{task}/children").split()]
    return found


def stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped, or it is gone."""
    return all(_state(pid, task) in "TtZX" for task in _tasks(pid))


def _state(pid: int, task: str) -> str:
    try:
        return _read(f"/proc/{pid}/task/{task}/stat").rpartition(b")")[2].split()[0].decode()
    except OSError:
        return "X"


def _read(path: str) -> bytes:
    """What `Path.read_bytes` gives, in less than half its time: a process with dozens of threads is stopped a hundred
    times while it is timed, and each of them is looked at."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _resident(pid: int) -> tuple[int, int]:
    """Bytes of a process's resident memory that no file backs, and of what is shared (with whomever)."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Rss")}
    return sizes.get("RssAnon", 0), sizes.get("RssShmem", 0)


def _unnamed_files(processes: Iterable[int], *, but: frozenset[FileId]) -> dict[FileId, int]:
    """Bytes behind every open file that no folder names: memfds, and what was deleted while it is open."""
    found: dict[FileId, int] = {}
    for pid in processes:
        folder = f"/proc/{pid}/fd"
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    behind = Path(folder, name).stat()
                    identity = (behind.st_dev, behind.st_ino)
                    if stat.S_ISREG(behind.st_mode) and behind.st_nlink == 0 and identity not in but:
                        found[identity] = behind.st_blocks * _BLOCK_BYTES
    return found


def _device(folder: str) -> int:
    """The file system a folder lies on, or 0 (none) once it is gone."""
    try:
        return Path(folder).stat().st_dev
    except OSError:
        return 0
