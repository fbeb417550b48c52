"""Which line opens a code fence, and which closes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from kbench.extract.lines import columns

PYTHON = "python"
_PYTHON_LABELS = frozenset({"python", "py", "python2", "python3", "py3", "ipython", "ipython3", "pycon", "pytorch"})
_FOREIGN = (
    "c c++ cpp cxx cc h hpp cuda cuda-cpp cuda-c++ cu cuh hip metal opencl cl ptx sass asm nasm llvm mlir rust go java "
    "javascript js typescript ts bash sh shell zsh console cmake make makefile dockerfile json jsonc yaml yml toml ini "
    "xml html css sql diff patch latex tex math mermaid"
)
FOREIGN_LABELS = frozenset(_FOREIGN.split())
CONTAINER_LABELS = frozenset(
    {"", "markdown", "md", "text", "txt", "plain", "plaintext", "output", "response", "answer"}
)
_KNOWN_LABELS = _PYTHON_LABELS | FOREIGN_LABELS | CONTAINER_LABELS | {"triton", "cython", "code", "tool_code"}

_OPENING = re.compile(
    r"(?P<quote>(?:[ \t]{0,3}>[ ]?)*)(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+){0,3})"
    r"(?P<marker>`{3,}|~{3,})(?P<info>.*)$"
)
_GLUED_OPENING = re.compile(r"(?P<before>[^`~]*[^`~\s][ \t]*)(?P<marker>`{3,})(?P<info>[\w+-]+)[ \t]*$")
_GLUED_CLOSING = re.compile(r"(?P<code>[^`#'\"]*[^`#'\"\s])[ \t]*(?P<marker>`{3,})[ \t]*$")
_LABEL = re.compile(r"[\s{]*\.?([A-Za-z][A-Za-z0-9_+#-]*)")
_QUOTE_MARK = re.compile(r"[ \t]{0,3}>[ ]?")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A line that opens a fence."""

    char: str
    length: int
    language: str
    width: int
    """Columns of indentation to take off the block's lines."""
    quote_depth: int
    """How many `>` the block's lines start with."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What a line does to an open block: it closes it, or it opens the next one (a closing is missing)."""

    kind: Literal["closes", "reopens"]
    code: str = ""
    """Code in front of a closing fence on the same line."""


def normalise_label(info: str) -> str:
    """`Python3 title="x"` and `{.py}` are "python"; no label is ""."""
    found = _LABEL.match(info)
    label = found.group(1).lower() if found else ""
    return PYTHON if label in _PYTHON_LABELS else label


def match_opening(line: str) -> Opening | None:
    """The fence that `line` opens, also behind quote marks, bullets or words ("Here it is: ```python")."""
    if "```" not in line and "~~~" not in line:
        return None
    found = _OPENING.match(line)
    if found is None:
        return _match_glued_opening(line)
    marker, info = found["marker"], found["info"].strip()
    if (marker[0] == "`" and "`" in info) or not _is_info(info):
        return None
    return Opening(
        char=marker[0],
        length=len(marker),
        language=normalise_label(info),
        width=columns(found["indent"]),
        quote_depth=found["quote"].count(">"),
    )


def match_ending(line: str, opening: Opening) -> Ending | None:
    """What `line`, without its quote marks, does to the block that `opening` opened; None: it is content."""
    if opening.char * opening.length not in line:
        return None
    stripped = line.strip()
    info = stripped.lstrip(opening.char)
    if len(stripped) - len(info) >= opening.length:
        return _ending_of_fence_line(info.strip(), opening)
    found = _GLUED_CLOSING.match(line)
    if found is not None and opening.char == "`" and len(found["marker"]) >= opening.length:
        return Ending(kind="closes", code=found["code"])
    nested = match_opening(line)
    if nested is None or nested.char != opening.char or nested.length < opening.length:
        return None
    return Ending(kind="reopens") if nested.language else None


def without_quote(line: str, depth: int) -> str | None:
    """`line` without `depth` quote marks; None if it has fewer."""
    for _ in range(depth):
        found = _QUOTE_MARK.match(line)
        if found is None:
            return None
        line = line[found.end() :]
    return line


def _ending_of_fence_line(info: str, opening: Opening) -> Ending | None:
    if opening.char == "`" and "`" in info:
        return None  # a code span such as ```x```
    if not info:
        return Ending(kind="closes")
    label_known = normalise_label(info) == PYTHON or normalise_label(info) in _KNOWN_LABELS - {""}
    return Ending(kind="reopens" if label_known and _is_info(info) else "closes")


def _is_info(info: str) -> bool:
    """Whether what follows the marker can be a label with attributes, rather than prose."""
    words = info.split()
    if not words:
        return True
    if _LABEL.match(info) is None:
        return False
    label = normalise_label(info)
    if len(words) == 1 or label == PYTHON or any(char in info for char in "={:"):
        return True
    return len(words) == 2 and label in FOREIGN_LABELS


def _match_glued_opening(line: str) -> Opening | None:
    found = _GLUED_OPENING.match(line)
    if found is None or found["info"].lower() not in _KNOWN_LABELS:
        return None
    return Opening(
        char="`", length=len(found["marker"]), language=normalise_label(found["info"]), width=0, quote_depth=0
    )
