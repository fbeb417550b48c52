"""Compiler output to errors with file, line and text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_GCC = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+)(?::\d+)?: (?:fatal )?error: (?P<text>.*)$")
_NVCC = re.compile(r"^(?P<file>[^\s(][^(\n]*)\((?P<line>\d+)\): (?:catastrophic )?error(?: #[\w-]+)?: (?P<text>.*)$")
_LINKER = re.compile(r"^(?P<text>.*(?:undefined reference to|cannot find -l|multiple definition of).*)$")
_PTXAS = re.compile(
    r"^(?:ptxas|nvlink|nvcc) (?:\S+, line \d+; )?(?:fatal|error)\s*:\s*(?P<text>(?!Ptx assembly aborted)\S.*)$"
)
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One error: `file` as the compiler named it (empty: none named), `line` (0: none), `text`."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.file else self.text


def find_errors(log: str) -> tuple[Diagnostic, ...]:
    """The errors of g++, nvcc, ptxas and the linker in `log`, in order, each once."""
    found: dict[Diagnostic, None] = {}
    for line in log.splitlines():
        for pattern in (_GCC, _NVCC, _PTXAS, _LINKER):
            match = pattern.match(line.strip())
            if match:
                parts = match.groupdict()
                found[Diagnostic(file=parts.get("file", ""), line=int(parts.get("line") or 0), text=parts["text"])] = (
                    None
                )
                break
    return tuple(found)


def summarise(log: str, *, own_file: str, source: str) -> str:
    """What a person needs of `log`: the errors in their own file first, with the line they stand on.

    Falls back to the log's last lines where no error is recognised.
    """
    errors = find_errors(log)
    if not errors:
        return "\n".join(log.strip().splitlines()[-5:])
    own = [error for error in errors if error.file == own_file]
    chosen = own or list(errors)
    lines = source.splitlines()
    shown = [_with_source(error, lines if error.file == own_file else ()) for error in chosen[:_SHOWN]]
    more = len(chosen) - _SHOWN
    return "\n".join([*shown, *([f"and {more} more"] if more > 0 else [])])


def _with_source(error: Diagnostic, lines: Sequence[str]) -> str:
    if 0 < error.line <= len(lines) and lines[error.line - 1].strip():
        return f"{error}\n    {lines[error.line - 1].strip()}"
    return str(error)
