"""Torch's headers, compiled once for all builds with the same flags.

g++ takes `torch/extension.h.gch` instead of `torch/extension.h` by itself where it finds it first and was called alike;
otherwise it silently reads the header. They are made by this process from kbench's own header with flags from a short
list, never from anything that a candidate wrote, and workers can only read them. Whatever goes wrong here, builds go on
without.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from kbench.build import leash
from kbench.build.cache import MANIFEST, cache_key, remove, seal
from kbench.build.toolchain import SHORT_HEADERS
from kbench.plan.cflags import DECLARATIONS_ONLY

Flags = tuple[str, ...]
Note = Callable[[str], None]

_HEADER = "torch/extension.h"
_OF_THE_HOST_UNIT = ("torch", "python", "cxx", "cpu")
"""What of a toolchain's facts such headers depend on, besides the files they are made of."""
_DEPENDENCIES = "dependencies.d"
_TIMEOUT_S = 600.0
_POLL_S = 0.1
_LEAST_FREE_BYTES = 4 << 30
"""A set takes half a gigabyte."""
_MOST_PER_RUN = 4
"""Whoever writes solutions could ask for many sets, half a minute and half a gigabyte each."""
_EXTENSION_NAME = "-DTORCH_EXTENSION_NAME="
"""Differs between extensions; no header mentions it, so g++ lets it differ from when the headers were compiled."""


class PrecompiledHeaders:
    """Sets of headers below one folder, by flags. Thread-safe, and safe for several processes: a lock per set is held
    while it is made, which ends with its holder, and a set appears by a rename or not at all."""

    def __init__(self, root: Path, *, facts: Mapping[str, str], environment: Mapping[str, str], note: Note) -> None:
        """`facts` is what the toolchain is known by, `environment` the compiler's; `note` hears what takes time."""
        self._root = root
        self._facts = {name: fact for name, fact in facts.items() if name in _OF_THE_HOST_UNIT}
        self._environment = dict(environment)
        self._note = note
        self._lock = threading.Lock()
        self._asked: dict[Flags, concurrent.futures.Future[Path | None]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._closed = threading.Event()
        self._made = 0

    def ask(self, wanted: Sequence[Flags], *, wait: bool) -> None:
        """Have headers made for builds with these flags, where there are none; `wait` for those that are asked for.

        What there is from earlier runs is ready at once.
        """
        with self._lock:
            for flags in wanted:
                if flags not in self._asked:
                    self._asked[flags] = self._found(flags) or self._pool.submit(self._obtain, flags)
            mine = [self._asked[flags] for flags in wanted if flags in self._asked]
        if wait:
            concurrent.futures.wait(mine)

    def ready(self) -> dict[str, Path]:
        """The folders that are ready to be used, by their flags with a space between."""
        with self._lock:
            done = {" ".join(flags): made.result() for flags, made in self._asked.items() if made.done()}
        return {flags: folder for flags, folder in done.items() if folder is not None}

    def settle(self) -> None:
        """Wait until nothing is compiled any more."""
        with self._lock:
            mine = list(self._asked.values())
        concurrent.futures.wait(mine)

    def close(self) -> None:
        """Give up what is being made."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> PrecompiledHeaders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _found(self, flags: Flags) -> concurrent.futures.Future[Path | None] | None:
        folder = self._folder(flags)
        if not _is_current(folder):
            return None
        found: concurrent.futures.Future[Path | None] = concurrent.futures.Future()
        found.set_result(folder)
        return found

    def _folder(self, flags: Flags) -> Path:
        text = (SHORT_HEADERS / _HEADER).read_text()
        return self._root / cache_key(text, {**self._facts, "flags": " ".join(flags)})

    def _obtain(self, flags: Flags) -> Path | None:
        """The folder for `flags`, made where there is none; None, and a note, where it cannot be."""
        given = " ".join(flag for flag in flags if flag != DECLARATIONS_ONLY)
        shown = f"{given or 'no'} flags" + (", of declarations alone" if DECLARATIONS_ONLY in flags else "")
        try:
            folder = self._folder(flags)
            command = compile_command(flags)
            if command is None or not _is_gcc(command[0], self._environment):
                return None
            self._root.mkdir(parents=True, exist_ok=True)
            with self._locked(folder.name):
                if _is_current(folder):  # another process was faster
                    return folder
                if shutil.disk_usage(self._root).free < _LEAST_FREE_BYTES:
                    raise OSError("the disk is nearly full")
                if self._made >= _MOST_PER_RUN:
                    raise OSError(f"{_MOST_PER_RUN} sets of them were made in this run")
                self._made += 1
                self._note(f"torch's headers are compiled for builds with {shown}: half a minute, once")
                self._make(command, folder)
            return folder
        except (OSError, subprocess.SubprocessError) as error:
            if not self._closed.is_set():
                self._note(f"builds with {shown} go on without precompiled headers: {error}")
            return None

    def _make(self, command: Sequence[str], folder: Path) -> None:
        start = time.monotonic()
        for left_over in self._root.glob(f".making-{folder.name}-*"):  # by one that was killed: we hold the lock
            remove(left_over)
        staging = Path(tempfile.mkdtemp(prefix=f".making-{folder.name}-", dir=self._root))
        try:
            (staging / _HEADER).parent.mkdir()
            shutil.copyfile(SHORT_HEADERS / _HEADER, staging / _HEADER)
            self._compile(command, staging)
            facts = {"seconds": time.monotonic() - start, "read": _state(staging / _DEPENDENCIES)}
            (staging / MANIFEST).write_text(json.dumps(facts))
            seal(staging)
            remove(folder)  # made of headers that have changed since
            staging.rename(folder)
        finally:
            remove(staging)

    def _compile(self, command: Sequence[str], staging: Path) -> None:
        made, read, said = staging / f"{_HEADER}.gch", staging / _DEPENDENCIES, staging / "log.txt"
        polite = ["nice", "-n", "10"] if shutil.which("nice") else []  # builds that do not wait for it go first
        full = [*polite, *command, "-MD", "-MF", str(read), str(SHORT_HEADERS / _HEADER), "-o", str(made)]
        leashed = [sys.executable, "-I", leash.__file__, *full]
        with said.open("wb") as log, subprocess.Popen(
            leashed, cwd=staging, env=self._environment, stdin=subprocess.PIPE, stdout=log, stderr=log
        ) as compiler:  # whose end closes the pipe, which ends the command
            deadline = time.monotonic() + _TIMEOUT_S
            while compiler.poll() is None:
                if self._closed.wait(_POLL_S) or time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(command[0], _TIMEOUT_S)
        if compiler.returncode != 0:
            raise OSError(said.read_text(errors="replace").strip()[-500:] or f"{command[0]}: {compiler.returncode}")

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Alone among all processes that use this folder. Raises TimeoutError when closed meanwhile."""
        with (self._root / f".lock-{key}").open("wb") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._closed.wait(_POLL_S):
                        raise TimeoutError("given up") from None
            yield


def compile_command(flags: Flags) -> list[str] | None:
    """How torch calls the compiler for a host unit with these `extra_cflags`, made to compile a header; or None.

    Torch is asked for its own command rather than imitated: it writes a ninja file, and does not run it.
    """
    from torch.utils import cpp_extension

    write = getattr(cpp_extension, "_write_ninja_file_to_build_library", None)
    if write is None:
        return None
    with tempfile.TemporaryDirectory(prefix="kbench-flags-") as folder:
        path = Path(folder) / "build.ninja"
        try:
            write(
                path=str(path), name="extension", sources=["main.cpp"], extra_cflags=list(flags), extra_cuda_cflags=[],
                extra_sycl_cflags=[], extra_ldflags=[], extra_include_paths=[], with_cuda=False, with_sycl=False,
                is_standalone=False,
            )  # fmt: skip
        except TypeError:  # another torch's function of this name
            return None
        variables = dict(line.split(" = ", 1) for line in path.read_text().splitlines() if " = " in line[:20])
    own = [flag for flag in shlex.split(variables.get("cflags", "")) if not flag.startswith(_EXTENSION_NAME)]
    compiler = shlex.split(variables.get("cxx", ""))
    return [*compiler, "-x", "c++-header", *own] if compiler and own else None


def _is_gcc(compiler: str, environment: Mapping[str, str]) -> bool:
    done = subprocess.run(
        [compiler, "--version"], env=dict(environment), capture_output=True, text=True, timeout=30, check=False
    )
    return "Free Software Foundation" in done.stdout


def _is_current(folder: Path) -> bool:
    """Whether it is whole, and every file that it was made of is the one it was. Notes its use."""
    try:
        facts = json.loads((folder / MANIFEST).read_text())
        current = (folder / f"{_HEADER}.gch").exists() and facts["read"] == _state(folder / _DEPENDENCIES)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if current:
        with contextlib.suppress(PermissionError):
            os.utime(folder / MANIFEST)
    return current


def _state(dependencies: Path) -> str:
    """One figure for the size and time of every file that a compiler's list of dependencies names. Raises OSError."""
    _, _, names = dependencies.read_text().partition(":")
    state = hashlib.sha256()
    for name in sorted(set(shlex.split(names.replace("\\\n", " ")))):
        facts = Path(name).stat()
        state.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return state.hexdigest()
