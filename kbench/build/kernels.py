"""The resources of each kernel that a solution built, by ptxas' own account. Needs no GPU.

The libraries are the candidate's, so they are read behind the walls (`kbench.build.account`), and what comes back is
read with care.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.build.account import ANSWER
from kbench.machine.tools import find_tool
from kbench.remote.hire import Hiring, copy_libraries
from kbench.sandbox.answers import count_of, lines, read_file, text_of

_TARGET = "kbench.build.account:execute"
_TIMEOUT_S = 300.0
_DEMANGLERS = ("cu++filt", "c++filt")
_MOST = 256
_MAX_NAME = 300


@dataclass(frozen=True, kw_only=True)
class Resources:
    """One kernel of a build, by ptxas' own account."""

    name: str
    """As in the source, with arguments."""
    mangled: str
    library: str
    registers: int
    stack_bytes: int
    """Per thread: arrays that are indexed, and registers that were spilled."""
    shared_bytes: int
    """Static, per block."""
    local_bytes: int | None = None
    """None where the account does not say."""


def take_account(hiring: Hiring, libraries: Path, *, log: Path) -> tuple[Resources, ...]:
    """The kernels in the libraries below a folder, by name. Raises InfraError where no process can be had, Malformed.

    At most 256: whoever writes solutions could put any number of them into a library.
    """
    demangler = next((tool for name in _DEMANGLERS if (tool := find_tool(os.environ, name))), None)
    cuobjdump = find_tool(os.environ, "cuobjdump")
    uid = hiring.server.new_uid()
    scratch = hiring.server.new_scratch(uid=uid)
    task = {
        "libraries": str(copy_libraries(libraries, scratch, uid)),
        "cuobjdump": str(cuobjdump) if cuobjdump else None,
        "demangler": str(demangler) if demangler else None,
        "answer": str(scratch / ANSWER),
    }
    process = hiring.server.spawn(_TARGET, task, log=log, limits=hiring.limits, scratch=scratch, uid=uid)
    try:
        process.wait(_TIMEOUT_S)
        return read_resources(read_file(scratch / ANSWER))
    finally:
        process.close()


def read_resources(text: str) -> tuple[Resources, ...]:
    """The kernels of a build, by name. Raises Malformed."""
    found = {}
    for line in lines(text):
        kernel = Resources(
            name=text_of(line, "name"),
            mangled=text_of(line, "mangled"),
            library=text_of(line, "library"),
            registers=count_of(line, "registers"),
            stack_bytes=count_of(line, "stack_bytes"),
            shared_bytes=count_of(line, "shared_bytes"),
            local_bytes=count_of(line, "local_bytes") if "local_bytes" in line else None,
        )
        found[kernel.library, kernel.mangled] = kernel
    return tuple(sorted(found.values(), key=lambda kernel: (kernel.name, kernel.mangled))[:_MOST])


def on_record(kernel: Resources) -> Mapping[str, Any]:
    """What a pair's record says of a kernel."""
    return {
        "name": kernel.name[:_MAX_NAME], "registers": kernel.registers, "stack_bytes": kernel.stack_bytes,
        "local_bytes": kernel.local_bytes, "shared_bytes": kernel.shared_bytes,
    }  # fmt: skip
