"""compute-sanitizer's words to findings.

Every line of the tool begins with `=========`; what the program itself prints does not count. A report that cannot be
read to its end is no clean report: it raises Unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PREFIX = "========="
_ACCESS = re.compile(r"(?:Invalid|Potential invalid|Uninitialized) (?P<space>__\w+__) (?:memory )?(?P<access>[\w ]+?)"
                     r" of size (?P<bytes>\d+)")  # fmt: skip
_OTHER = re.compile(r"(?:Error: |Fatal: )?(?:Barrier error detected|Host API|Uninitialized \w+ memory"
                    r"|Malloc/Free [Ee]rror|Stack overflow|Illegal instruction|Invalid \w+)")  # fmt: skip
_RACE = re.compile(r"(?P<level>Error|Warning): (?:Race reported between|Potential \w+ hazard) .*", re.IGNORECASE)
_RACING = re.compile(r"(?:.* between |and )(?P<access>\w+) access at (?P<place>.+)")
_AT = re.compile(r"(?:and )?(?:\w+ access )?at (?:0x[0-9a-fA-F]+ in )?(?P<place>.+)")
_ADDRESS = re.compile(r"Address (?P<address>0x[0-9a-fA-F]+)(?: (?P<what>.*))?")
_THREAD = re.compile(r"by thread (?P<thread>\(.*?\)) in block (?P<block>\(.*?\))")
_SOURCE = re.compile(r"(?P<file>[^\s:()]+\.\w+):(?P<line>\d+)")
_OFFSET = re.compile(r"(?:\+0x[0-9a-fA-F]+|:0x[0-9a-fA-F]+)")
_ERRORS = re.compile(r"ERROR SUMMARY: (?P<errors>\d+) errors?$")
_RACES = re.compile(r"RACECHECK SUMMARY: \d+ hazards? displayed"
                    r" \((?P<errors>\d+) errors?, (?P<warnings>\d+) warnings?\)$")  # fmt: skip
_LIBRARY = re.compile(
    r"(?:\w[\w ]* )?(?:at|c10|torch|cub|thrust|cudnn\w*|cublas\w*|cutlass\w*|internal::gemv\w*)::"
    r"|(?:void )?(?:cudnn|cublas|cutlass|cusparse|nvjet|sm\d+_|ampere_|volta_|turing_|hopper_|maxwell_|gemm|gemv"
    r"|splitKreduce|implicit_convolve|wgrad_|dgrad_|cask_|magma_)"
)
"""The beginnings of kernel names: namespaces of torch and of the libraries it calls, and of their generated kernels."""
_HOST = "Host API"
_UNNAMED = "(anonymous namespace)"


class Unreadable(Exception):
    """The report does not say, all the way to its summary, what the tool found."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One error that the tool reported."""

    text: str
    """Its first line, e.g. `Invalid __global__ write of size 4 bytes`."""
    kernel: str = ""
    """The device function as the tool writes it, without the offset; empty where none was named."""
    source: str = ""
    """`file:line`, where the code carries line information."""
    bytes: int | None = None
    """The access's size."""
    address: str = ""
    """Its address, and what the tool says of it."""
    thread: str = ""
    """`(x,y,z) in block (x,y,z)`, the first one."""

    @property
    def by_host(self) -> bool:
        """Whether no kernel but a copy or a memset is said to have done it."""
        return self.text.startswith(_HOST)

    def __str__(self) -> str:
        place = f" in {self.kernel}" if self.kernel else ""
        source = f" at {self.source}" if self.source else ""
        thread = f" by thread {self.thread}" if self.thread else ""
        return f"{self.text}{place}{source}{thread}{f': {self.address}' if self.address else ''}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report."""

    findings: tuple[Finding, ...]
    """Errors, in order. Warnings of racecheck, on hazards that may be meant, are only counted."""
    errors: int
    """As the tool counts them; more than `findings` where it did not print them all."""
    warnings: int = 0

    def of_the_solution(self, source: str) -> tuple[Finding, ...]:
        """The findings that are not in a library's kernel. `source` is the solution's text."""
        return tuple(f for f in self.findings if not (f.by_host or is_library_kernel(f.kernel, source)))

    @property
    def complete(self) -> bool:
        """Whether every error was printed, and read."""
        return len(self.findings) >= self.errors


def is_library_kernel(kernel: str, source: str) -> bool:
    """Whether a kernel is torch's or a vendor library's: by its name, unless the solution's text defines that name.

    A kernel without a name, or with a name that no library is known for, is the solution's.
    """
    qualified = qualified_name(kernel)
    if _LIBRARY.match(qualified) is None:
        return False
    name = qualified.rpartition("::")[2].rpartition(" ")[2]
    return re.search(rf"\b{re.escape(name)}\s*[<(]", source) is None


def qualified_name(kernel: str) -> str:
    """`void ns::fused` of `void ns::fused<float>(float *, int)`: arguments may be of a library's types."""
    return kernel.replace(_UNNAMED, "unnamed").partition("(")[0].partition("<")[0].strip()


def parse_report(text: str) -> Report:
    """Read the tool's output. Raises Unreadable without a summary, or with one that disagrees with the findings."""
    lines = [line.strip() for line in _tool_lines(text)]
    findings = tuple(_findings(lines))
    summaries = [match for line in lines if (match := _ERRORS.match(line) or _RACES.match(line))]
    if not summaries:
        said = next((line for line in lines if line.startswith(("Error:", "Fatal", "Internal"))), "")
        raise Unreadable(f"no summary{f': {said}' if said else ''}")
    errors = sum(int(match["errors"]) for match in summaries)
    warnings = sum(int(match.groupdict().get("warnings") or 0) for match in summaries)
    if findings and not errors:
        raise Unreadable(f"the summary counts no error, but one was reported: {findings[0]}")
    return Report(findings=findings, errors=errors, warnings=warnings)


def _tool_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith(_PREFIX):
            yield line[len(_PREFIX) :]


def _findings(lines: Iterable[str]) -> Iterator[Finding]:
    """Group the lines below each first line of an error; host frames belong to no finding's place."""
    head, details = "", list[str]()
    for line in lines:
        if line.startswith(("ERROR SUMMARY", "RACECHECK SUMMARY")) or not line or _begins(line):
            if head:
                yield _finding(head, details)
            head, details = (line, []) if line and _begins(line) else ("", [])
        elif head:
            details.append(line)
    if head:
        yield _finding(head, details)


def _begins(line: str) -> bool:
    if race := _RACE.match(line):
        return race["level"].lower() == "error"
    return bool(_ACCESS.match(line) or _OTHER.match(line))


def _finding(head: str, details: list[str]) -> Finding:
    race, access = _RACE.match(head), _ACCESS.match(head)
    places = [head.partition(" access ")[2]] if race and " access at " in head else []
    for line in details:
        if line.startswith(("Saved host backtrace", "Host Frame", "Device Frame")):
            break
        places += [line] if _AT.match(line) else []
    kernel, source = _place(places[0]) if places else ("", "")
    address = next((m for line in details if (m := _ADDRESS.match(line))), None)
    thread = next((m for line in details if (m := _THREAD.match(line))), None)
    return Finding(
        text=f"Race in shared memory{_racing([head, *details])}" if race else head,
        kernel=kernel,
        source=source,
        bytes=int(access["bytes"]) if access else None,
        address=" ".join(part for part in address.group("address", "what") if part) if address else "",
        thread=f"{thread['thread']} in block {thread['block']}" if thread else "",
    )


def _racing(lines: Iterable[str]) -> str:
    """The two accesses of a race: ` between write +0x140 (a.cu:20) and read +0xe0 (a.cu:21)`."""
    sides = []
    for match in filter(None, map(_RACING.match, lines)):
        offset, source = _OFFSET.search(match["place"]), _SOURCE.search(match["place"])
        parts = (match["access"].lower(), offset and offset.group().lstrip(":"), source and f"({source.group()})")
        sides.append(" ".join(filter(None, parts)))
    return f" between {' and '.join(sides)}" if sides else ""


def _place(line: str) -> tuple[str, str]:
    """Kernel and source line of `at 0x70 in f(int *)`, `at f(int *)+0x70 in a.cu:41`, `at 0x70 in a.cu:41:f(int *)`."""
    match = _AT.match(line)
    text = match["place"] if match else line
    text = re.sub(r"\s*\[\d+ hazards?\]$", "", text)
    head, _, tail = text.rpartition(" in ")
    if head and (at := _SOURCE.match(tail)) and at.end() == len(tail):
        return _OFFSET.sub("", head).strip(), at.group()
    if (at := _SOURCE.match(text)) and text[at.end() : at.end() + 1] == ":":
        return _OFFSET.sub("", text[at.end() + 1 :]).strip(), at.group()
    return _OFFSET.sub("", text).strip(), ""
