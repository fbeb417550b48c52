"""The content-addressed store of builds: one sealed folder per key, written once, by its own build only.

An entry holds what came of a build: its libraries, or the compiler's refusal with its log. It may be removed at any
time: whoever looks for it builds again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.errors import StoreError

_FORMAT = 2
MANIFEST = "build.json"
_MAX_LIBRARY_BYTES = 1 << 30
_MAX_LIBRARIES = 64
_LOG = "log.txt"
_MAX_LOG_BYTES = 1 << 20
_IN_USE_S = 86400.0
"""A run finds its builds at its start and copies their libraries as each worker starts, hours later in a large batch:
what was found this recently is left alone."""


def _none(_: Path) -> Sequence[Mapping[str, Any]]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished build: its folder of `<extension>/<library>.so`, or its failure, and the seconds it took."""

    libraries: Path
    seconds: float
    failure: Mapping[str, Any] | None = None
    """What the verdict says, as plain values."""
    kernels: Sequence[Mapping[str, Any]] = ()
    """Each compiled kernel's resources, as plain values."""

    @property
    def log(self) -> Path:
        """What the compilers said (of a failure)."""
        return self.libraries.with_name(_LOG)


@dataclass(frozen=True, kw_only=True)
class Stock:
    """How much is kept."""

    entries: int
    """Builds, and sets of precompiled headers."""
    headers: int
    """The sets of headers among them."""
    size_bytes: int
    removable: int
    """Entries that nobody has used for a while."""


def cache_key(source: str, toolchain: Mapping[str, str]) -> str:
    """SHA-256 over the solution's text and everything that turns it into machine code."""
    whole = json.dumps({"format": _FORMAT, "source": source, "toolchain": dict(toolchain)}, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


class BuildCache:
    """Builds below one folder. Safe for several processes: an entry appears by a rename or not at all."""

    def __init__(self, root: Path) -> None:
        """Raises StoreError where the folder cannot be made or written. Precompiled headers lie in `headers`."""
        self._root = root / "builds"
        self.headers = root / "headers"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                "the build cache cannot be used", where=str(self._root), why=str(error.strerror), hint="--cache-dir DIR"
            ) from error

    def find(self, key: str) -> Entry | None:
        """The entry of `key`, or None. An entry without a readable manifest does not count."""
        folder = self._root / key[:2] / key
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            os.listdir(folder / "libraries")
            entry = Entry(
                libraries=folder / "libraries", seconds=float(manifest["seconds"]), failure=manifest.get("failure"),
                kernels=manifest.get("kernels", ()),
            )  # fmt: skip
            with contextlib.suppress(PermissionError):  # somebody else's cache may still be read
                os.utime(folder / MANIFEST)  # the least recently used go first
            return entry
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(
        self, key: str, built: Path, *, seconds: float, account: Callable[[Path], Sequence[Mapping[str, Any]]] = _none
    ) -> Entry:
        """Copy the libraries below `built` (a confined build's folder) into a sealed entry, with the kernels in them.

        `account` gets the folder of copies: what lies below `built` may be anything.

        Only regular files named `*.so`, one folder deep, are taken: the folder was writable by the candidate, so
        links in it are not followed. Raises StoreError where the cache cannot be written.
        """

        def fill(staging: Path) -> None:
            _collect(built, staging / "libraries")
            kernels = list(account(staging / "libraries"))
            (staging / MANIFEST).write_text(json.dumps({"seconds": seconds, "kernels": kernels}))

        return self._store(key, fill)

    def store_failure(self, key: str, failure: Mapping[str, Any], *, log: Path, seconds: float) -> Entry:
        """Keep what a compiler refused, with the beginning of the log. Raises StoreError."""

        def fill(staging: Path) -> None:
            with log.open("rb") as said:
                (staging / _LOG).write_bytes(said.read(_MAX_LOG_BYTES))
            (staging / MANIFEST).write_text(json.dumps({"seconds": seconds, "failure": dict(failure)}))

        return self._store(key, fill)

    def stock(self, now: float) -> Stock:
        """What there is; `now` as `time.time()` gives it."""
        found = [_use(folder) for folder in self._folders()]
        return Stock(
            entries=len(found),
            headers=sum(use.folder.parent == self.headers for use in found),
            size_bytes=sum(use.size_bytes for use in found),
            removable=sum(use.used_at < now - _IN_USE_S for use in found),
        )

    def trim(self, most_bytes: float, now: float) -> int:
        """Remove the least recently used entries until no more than `most_bytes` are kept. Returns how many went.

        What was used within the last day stays, whatever its size.
        """
        self._sweep(now - _IN_USE_S)
        found = sorted((_use(folder) for folder in self._folders()), key=lambda use: use.used_at)
        left, gone = sum(use.size_bytes for use in found), 0
        for use in found:
            if left <= most_bytes or use.used_at >= now - _IN_USE_S:
                break
            remove(use.folder)
            left, gone = left - use.size_bytes, gone + 1
        return gone

    def clear(self) -> int:
        """Remove every entry, in use or not. Returns how many went."""
        self._sweep(math.inf)
        folders = list(self._folders())
        for folder in folders:
            remove(folder)
        return len(folders)

    def _sweep(self, before: float) -> None:
        """Remove what was being made when its maker was killed, if that was `before` (as `time.time()` gives it)."""
        for half_made in (*self._root.glob("*/.staging-*"), *self.headers.glob(".making-*")):
            with contextlib.suppress(OSError):  # it has just been finished
                if half_made.stat().st_mtime < before:
                    remove(half_made)

    def _folders(self) -> Iterator[Path]:
        """Every entry, whole or damaged; what is still being written is none."""
        for group in _listed(self._root):
            yield from (Path(entry.path) for entry in _listed(group.path) if not entry.name.startswith("."))
        yield from (Path(entry.path) for entry in _listed(self.headers) if not entry.name.startswith("."))

    def _store(self, key: str, fill: Callable[[Path], None]) -> Entry:
        folder = self._root / key[:2] / key
        try:
            folder.parent.mkdir(exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder.parent))
            try:
                (staging / "libraries").mkdir()
                fill(staging)
                seal(staging)
                self._publish(staging, folder)
            finally:
                remove(staging)  # nothing is left of it where it was published
        except OSError as error:
            raise StoreError(
                "a build could not be kept", where=str(folder), why=str(error), hint="free space, or --cache-dir DIR"
            ) from error
        entry = self.find(key)
        if entry is None:
            raise StoreError("a build vanished from the cache", where=str(folder), hint="run again")
        return entry

    def _publish(self, staging: Path, folder: Path) -> None:
        if folder.exists() and self.find(folder.name) is None:  # left by a damaged disk: nothing usable in it
            remove(folder)
        try:
            staging.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


@dataclass(frozen=True, kw_only=True)
class _Use:
    folder: Path
    size_bytes: int
    used_at: float


def _use(folder: Path) -> _Use:
    """Of an entry that may vanish meanwhile, or be damaged: it was last used never."""
    size, used_at = 0, 0.0
    with contextlib.suppress(OSError):
        used_at = (folder / MANIFEST).stat().st_mtime
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return _Use(folder=folder, size_bytes=size, used_at=used_at)


def _collect(built: Path, into: Path) -> None:
    taken = 0
    for folder in _listed(built):
        if not folder.is_dir(follow_symlinks=False):
            continue
        for item in _listed(folder.path):
            if item.name.endswith(".so") and item.is_file(follow_symlinks=False) and taken < _MAX_LIBRARIES:
                taken += _copy_regular(item.path, into / folder.name / item.name)


def _listed(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds that may be hostile: nothing where it cannot be read."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []


def _copy_regular(source: str, target: Path) -> bool:
    """Copy a regular file that may be hostile. Returns whether it was one, readable and small enough."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as library:
        facts = os.fstat(library.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or facts.st_size > _MAX_LIBRARY_BYTES:
            return False
        target.parent.mkdir(exist_ok=True)
        with target.open("wb") as copy:
            shutil.copyfileobj(library, copy)
        return True


def remove(folder: Path) -> None:
    """Remove an entry, sealed or not. What does not let itself be removed stays."""
    with contextlib.suppress(OSError):
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def seal(folder: Path) -> None:
    """Nothing in it can be written any more."""
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() or path.suffix == ".so" else 0o444)
    folder.chmod(0o755)  # a rename needs it writable; its owner is the judge
