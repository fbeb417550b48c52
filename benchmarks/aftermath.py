"""What a run and its build cache must look like when a killed run has been completed."""

from __future__ import annotations

import collections
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import runs
from benchmarks.generate import Expected

Fingerprint = tuple[str, ...]
"""Of a build: its libraries with their hashes, or what the compiler's refusal was."""

_LOADS = """
import importlib.util, pathlib, sys
import torch
for line in sys.stdin:
    path = pathlib.Path(line.strip())
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def faults(run: Path, expected: Sequence[Expected], cache: Path, built: Mapping[str, Fingerprint]) -> list[str]:
    """Everything that is wrong, in words; `built` is what an undisturbed run had in its cache."""
    found = record_faults(run, expected) + sample_faults(run)
    found += [f"unfinished file {path.relative_to(run)}" for path in run.rglob("*.tmp")]
    now = fingerprints(cache)
    found += [f"build {key[:8]} is {'missing' if key not in now else 'different'}" for key in built
              if now.get(key) != built[key]]  # fmt: skip
    found += [f"build {key[:8]} is unknown" for key in now.keys() - built.keys()]
    found += [f"half a build in the cache: {path.name}" for path in (cache / "builds").glob("*/.staging-*")]
    found += [f"half-made headers in the cache: {path.name}" for path in (cache / "headers").glob(".making-*")]
    return found + _load_faults(cache)


def record_faults(run: Path, expected: Sequence[Expected]) -> list[str]:
    """Records that are missing, double, unknown, or of another status than the manifest says."""
    found = []
    statuses = collections.defaultdict(list)
    for record in runs.records(run):
        statuses[runs.identity(record)].append(record["status"])
    for each in expected:
        seen = statuses.pop(each.id, [])
        if len(seen) != 1:
            found.append(f"{each.id} has {len(seen)} records")
        elif seen[0] != each.status:
            found.append(f"{each.id} is {seen[0]}, not {each.status}")
    return found + [f"{name} was not asked for" for name in statuses]


def sample_faults(run: Path) -> list[str]:
    """Samples without a record, and correct records whose samples are not those of all their replicates."""
    taken = collections.defaultdict(set)
    for sample in runs.samples(run):
        taken[runs.identity(sample)].add(sample["replicate"])
    found = []
    for record in runs.records(run):
        name = runs.identity(record)
        seen = taken.pop(name, set())
        if record["status"] == "correct" and seen != set(range(record["replicates"])):
            found.append(f"{name} has samples of replicates {sorted(seen)}, not of {record['replicates']}")
    return found + [f"samples of {name} without a record" for name in taken]


def fingerprints(cache: Path) -> dict[str, Fingerprint]:
    """Of every entry of a build cache, by key. One that cannot be read has none of an undisturbed build's."""
    found: dict[str, Fingerprint] = {}
    for folder in (cache / "builds").glob("*/[0-9a-f]*"):
        try:
            failure = json.loads((folder / "build.json").read_text()).get("failure")
        except (OSError, ValueError) as error:
            found[folder.name] = (f"unreadable: {error}",)
            continue
        libraries = sorted((folder / "libraries").rglob("*.so"))
        hashes = tuple(f"{path.parent.name}/{path.name} {_sha(path)}" for path in libraries)
        found[folder.name] = hashes if failure is None else (*hashes, json.dumps(failure.get("message")))
    return found


def build_seconds(cache: Path, key: str) -> float:
    """What a build took when it was made."""
    return float(json.loads((cache / "builds" / key[:2] / key / "build.json").read_text())["seconds"])


def evict(cache: Path, key: str) -> None:
    """Take a build out of the cache. Raises OSError."""
    _remove(cache / "builds" / key[:2] / key)


def evict_headers(cache: Path) -> float:
    """Take the precompiled headers out of the cache. Returns the seconds that it took to make them. Raises OSError."""
    took_s = 0.0
    for manifest in (cache / "headers").glob("*/build.json"):
        took_s += float(json.loads(manifest.read_text())["seconds"])
        _remove(manifest.parent)
    return took_s


def _remove(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that end in a newline; none where there is no file."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith(b"\n")]


def counted(names: Sequence[str]) -> list[str]:
    """Random parts of temporary names left out, and how often each occurs: `kbench-responses-* (3)`."""
    counts = collections.Counter(re.sub(r"(?<=-)[a-z0-9_]{8}$", "*", name) for name in names)
    return [f"{name} ({count})" for name, count in sorted(counts.items())]


def _load_faults(cache: Path) -> list[str]:
    """Import every library there is in one fresh interpreter."""
    libraries = "\n".join(str(path) for path in (cache / "builds").glob("*/[0-9a-f]*/libraries/*/*.so"))
    done = subprocess.run(
        [sys.executable, "-c", _LOADS], input=libraries, capture_output=True, text=True, check=False
    )
    return [] if done.returncode == 0 else [f"a library does not load: {done.stderr.strip()[-200:]}"]


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
