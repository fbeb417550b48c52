"""The real command line as a process: started, watched line by line, ended, and searched for what it left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench.config import load_options

DEADLINE_S = 120.0
"""For anything that a healthy run does in a few seconds, on a machine that is busy with other things."""


@dataclass
class CliProcess:
    """A `kbench` on its way. Its processes carry `marker` in their environment."""

    process: subprocess.Popen[bytes]
    marker: str
    stdout_path: Path
    stderr: str = field(default="", init=False)

    def until(self, text: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Read standard error until it holds `text`. Fails when it ends, or takes too long, without."""
        end = time.monotonic() + deadline_s
        while text not in self.stderr:
            assert self._read(end), f"kbench never said {text!r} but:\n{self.stderr}"

    def wait(self, *, deadline_s: float = DEADLINE_S) -> int:
        """Read to the end. Returns the exit code."""
        end = time.monotonic() + deadline_s
        while self._read(end):
            pass
        assert self.process.stderr is not None
        self.process.stderr.close()
        return self.process.wait(timeout=max(1.0, end - time.monotonic()))

    def interrupt(self) -> None:
        """What a terminal does on Ctrl-C: SIGINT to the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text()

    def _read(self, end: float) -> bool:
        assert self.process.stderr is not None
        left = end - time.monotonic()
        if left <= 0 or not select.select([self.process.stderr], [], [], left)[0]:
            self.process.kill()
            raise AssertionError(f"kbench took too long; it said:\n{self.stderr}")
        chunk = os.read(self.process.stderr.fileno(), 65536)
        self.stderr += chunk.decode(errors="replace")
        return bool(chunk)


def start(
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    temporary: Path,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> CliProcess:
    """Start `kbench` with `arguments`. `temporary` takes its temporary files, and the lock that it holds."""
    temporary.mkdir(exist_ok=True)
    marker = f"/kbench-test-{uuid.uuid4().hex}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KBENCH_")}
    # VIRTUAL_ENV reaches every worker, and nothing there reads it.
    own = {"TMPDIR": str(temporary), "KBENCH_LOCK_DIR": str(temporary), "VIRTUAL_ENV": marker, "COLUMNS": ""}
    stdout_path = temporary / f"stdout{marker.rpartition('-')[2]}"
    with stdout_path.open("wb") as stdout:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "kbench", *map(str, arguments)],
            cwd=cwd,
            env={**kept, **own, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )
    return CliProcess(process, marker, stdout_path)


def _heed_interrupts() -> None:
    """As on a terminal, even where the tests themselves run in a shell's background, which ignores interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def new_cache(folder: Path) -> Path:
    """A build cache of its own, empty but for torch's precompiled headers: those are the user's, made where they lack.

    Compiling them takes more than a minute on two cores.
    """
    shared = load_options({}, os.environ, Path.cwd()).options.cache_dir / "headers"
    shared.mkdir(parents=True, exist_ok=True)
    cache = folder / "cache"
    cache.mkdir()
    (cache / "headers").symlink_to(shared.resolve())
    return cache


def stray_processes(*needles: str) -> dict[int, str]:
    """Command lines by process id of all that carry one of `needles` in their environment or command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
        except OSError:
            continue
        if any(needle.encode() in text for needle in needles):
            found[int(folder.name)] = text.partition(b"\0\0")[0].replace(b"\0", b" ").decode(errors="replace")
    return found


def await_no_strays(*needles: str, deadline_s: float = 30.0) -> None:
    """Wait until nothing carries one of `needles` any more. Fails at the deadline, naming what does."""
    end = time.monotonic() + deadline_s
    while strays := stray_processes(*needles):
        left = end - time.monotonic()
        assert left > 0, f"still there: {strays}"
        try:
            descriptor = os.pidfd_open(min(strays))
        except ProcessLookupError:
            continue
        try:
            select.select([descriptor], [], [], left)
        finally:
            os.close(descriptor)


def leftovers(temporary: Path) -> list[str]:
    """What kbench left in its temporary folder, the lock aside."""
    return sorted(path.name for path in temporary.glob("kbench-*") if path.suffix != ".lock")


def read_records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
