"""The content-addressed store of builds: one sealed folder per key, written once, by its own build only."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kbench.errors import StoreError

_FORMAT = 1
_MANIFEST = "build.json"
_MAX_LIBRARY_BYTES = 1 << 30
_MAX_LIBRARIES = 64


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A finished build: its folder of `<extension>/<library>.so`, and the seconds it took."""

    libraries: Path
    seconds: float


def cache_key(source: str, toolchain: Mapping[str, str]) -> str:
    """SHA-256 over the solution's text and everything that turns it into machine code."""
    whole = json.dumps({"format": _FORMAT, "source": source, "toolchain": dict(toolchain)}, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


class BuildCache:
    """Builds below one folder. Safe for several processes: an entry appears by a rename or not at all."""

    def __init__(self, root: Path) -> None:
        """Raises StoreError where the folder cannot be made or written."""
        self._root = root / "builds"
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
            manifest = json.loads((folder / _MANIFEST).read_text())
            os.listdir(folder / "libraries")
            return Entry(libraries=folder / "libraries", seconds=float(manifest["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, key: str, built: Path, *, seconds: float) -> Entry:
        """Copy the libraries below `built` (a confined build's folder) into a sealed entry.

        Only regular files named `*.so`, one folder deep, are taken: the folder was writable by the candidate, so
        links in it are not followed. Raises StoreError where the cache cannot be written.
        """
        folder = self._root / key[:2] / key
        try:
            folder.parent.mkdir(exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder.parent))
            try:
                (staging / "libraries").mkdir()
                _collect(built, staging / "libraries")
                (staging / _MANIFEST).write_text(json.dumps({"seconds": seconds}))
                _seal(staging)
                self._publish(staging, folder)
            finally:
                _remove(staging)  # nothing is left of it where it was published
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
            _remove(folder)
        try:
            staging.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


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


def _remove(folder: Path) -> None:
    """Remove an entry, sealed or not. What does not let itself be removed stays."""
    with contextlib.suppress(OSError):
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def _seal(folder: Path) -> None:
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() or path.suffix == ".so" else 0o444)
    folder.chmod(0o755)  # a rename needs it writable; its owner is the judge
