"""The real command line as these benchmarks start it, and what its runs left on disk."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.config import load_options
from kbench.engine.lock import timing_lock

ROOT = Path(__file__).resolve().parents[1]
JUDGED = (0, 1)
"""Exit codes of a run that judged everything: all correct, or some candidates failed."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A `kbench` that has ended."""

    code: int
    wall_s: float


def kbench(*arguments: object, log: Path, accepted: Sequence[int] = JUDGED) -> Ended:
    """Run the command; what it says goes to `log`. Exits where its code is none of `accepted`."""
    begun = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(
            command(*arguments), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    wall_s = time.monotonic() - begun
    if done.returncode not in accepted:
        said = log.read_text(errors="replace")[-3000:]
        sys.exit(f"kbench {' '.join(map(str, arguments))} ended with {done.returncode}:\n{said}")
    return Ended(code=done.returncode, wall_s=wall_s)


def command(*arguments: object) -> list[str]:
    """`kbench` with these arguments, of this source tree when it is run from `ROOT`."""
    return [sys.executable, "-m", "kbench", *map(str, arguments)]


@contextlib.contextmanager
def turn(device: str) -> Iterator[None]:
    """On the CPU, this machine's turn to build and time: no kbench run has its own meanwhile. On CUDA nothing."""
    if device != "cpu":
        yield
        return
    folder = load_options({}, os.environ, Path.cwd()).options.lock_dir
    with timing_lock(None, folder=folder, waiting=lambda said: print(said, file=sys.stderr, flush=True)):
        yield


def records(run: Path) -> list[dict[str, Any]]:
    """A run's records as they were written, doubles and all; none where there is no file."""
    return list(_lines(run / "records.jsonl"))


def samples(run: Path) -> Iterator[dict[str, Any]]:
    """A run's samples, as `records`."""
    return _lines(run / "samples.jsonl")


def identity(line: Mapping[str, Any]) -> str:
    """Of a record or a sample: `problem/solution`."""
    return f"{line['problem']}/{line['solution']}"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open() as stream:
            yield from map(json.loads, stream)
