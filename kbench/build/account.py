"""ptxas' account of a build: registers, stack and shared memory of each kernel. Runs inside the sandbox.

The libraries come from the candidate's own build, so whatever reads them does so behind the walls, in a process that
runs none of the candidate's code.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kbench.build.cubin import read_cubins

ANSWER = "kernels.jsonl"
_FUNCTION = re.compile(r"^\s*Function (?P<name>\S+):$")
_USED = re.compile(r"(?P<what>[A-Z]+):(?P<amount>\d+)")
_ARCH = re.compile(r"^\s*arch = sm_(?P<number>\d+)")
_RESERVES, _RESERVED_BYTES = 90, 1024
"""From this architecture on cuobjdump counts CUDA's own KiB of a block to the static shared memory of a kernel that has
any (seen on sm_90: 1216 where ptxas says 192)."""
_TOOL_TIMEOUT_S = 120.0
_ENTRIES = frozenset({"REG", "STACK", "SHARED", "LOCAL"})


def execute(task: dict[str, Any], _: Sequence[int]) -> None:
    """Target of the fork server: write one JSON line for each kernel in the libraries below `task["libraries"]`."""
    kernels = [
        {**kernel, "library": path.name}
        for path in sorted(Path(task["libraries"]).rglob("*.so"))
        for kernel in _read(path, task["cuobjdump"])
    ]
    names = demangled([kernel["mangled"] for kernel in kernels], task["demangler"])
    lines = [json.dumps({**kernel, "name": name}) for kernel, name in zip(kernels, names, strict=True)]
    Path(task["answer"]).write_text("".join(f"{line}\n" for line in lines))


def _read(path: Path, cuobjdump: str | None) -> Iterable[dict[str, Any]]:
    if cuobjdump:
        text = _output([cuobjdump, "-res-usage", str(path)], given="")
        if found := list(parse_usage(text)):
            return found
    return read_cubins(path.read_bytes())


def parse_usage(text: str) -> Iterator[dict[str, Any]]:
    """The kernels in the output of `cuobjdump -res-usage`, in order. Lines of any other form say nothing."""
    name, reserved = "", 0
    for line in text.splitlines():
        if match := _ARCH.match(line):
            reserved = _RESERVED_BYTES if int(match["number"]) >= _RESERVES else 0
        if match := _FUNCTION.match(line):
            name = match["name"]
            continue
        used = {match["what"]: int(match["amount"]) for match in _USED.finditer(line)}
        if name and used.keys() >= _ENTRIES:
            yield {
                "mangled": name,
                "registers": used["REG"],
                "stack_bytes": used["STACK"],
                "local_bytes": used["LOCAL"],
                "shared_bytes": max(0, used["SHARED"] - reserved),
            }
            name = ""


def demangled(names: Sequence[str], demangler: str | None) -> list[str]:
    """The names as in the source, by `cu++filt` or `c++filt`; as they are where there is none, or it fails."""
    if not (names and demangler):
        return list(names)
    said = _output([demangler], given="".join(f"{name}\n" for name in names)).splitlines()
    return [one_name(line) for line in said] if len(said) == len(names) else list(names)


def one_name(demangled_name: str) -> str:
    """cu++filt has a word of its own for what the profiler, like other demanglers, calls an anonymous namespace."""
    return demangled_name.replace("<unnamed>::", "(anonymous namespace)::")


def _output(command: list[str], *, given: str) -> str:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
