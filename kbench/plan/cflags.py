"""Which compiler flags headers are precompiled for, and which of them a source's text will ask for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

_HARMLESS = re.compile(
    r"-O[0-3sg]?|-Ofast|-march=native|-mtune=native|-fopenmp|-ffast-math|-funroll-loops|-fno-math-errno|-ftree-vectorize"
    r"|-fno-trapping-math|-ffp-contract=(?:fast|on|off)|-fPIC|-std=(?:c|gnu)\+\+(?:17|20|23)|-DNDEBUG|-mavx2|-mfma"
)
"""Neither names a file nor runs a program, and there are few of them: a set of headers takes half a gigabyte."""
_WARNING = re.compile(r"-w|-W(?![lap],)[\w=+-]+")
"""About warnings only: the same code either way, and torch's headers are silent as system headers are."""


def precompilable(cflags: object) -> tuple[str, ...] | None:
    """The flags that headers must be precompiled with for a build with `cflags`; None where there are no such headers.

    `cflags` is whatever a candidate handed over. Headers serve exactly these flags, in this order.
    """
    if cflags is None:
        return ()
    if not isinstance(cflags, list | tuple) or not all(isinstance(flag, str) for flag in cflags):
        return None
    flags = tuple(flag.strip() for flag in cflags)
    code = tuple(flag for flag in flags if not _WARNING.fullmatch(flag))
    return code if all(_HARMLESS.fullmatch(flag) for flag in code) else None


def read_cflags(text: str) -> tuple[tuple[str, ...], ...]:
    """The flag sets to have headers for before `text` is built, each once. Advice: a text may do otherwise."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found = (precompilable(flags) for flags in _given(tree))
    return tuple(dict.fromkeys(flags for flags in found if flags is not None))


def _given(tree: ast.Module) -> Iterator[Sequence[str] | None]:
    """`extra_cflags` of each call that builds with torch's headers, where it is a literal or a name for one."""
    names = {
        target.id: statement.value
        for statement in ast.walk(tree)
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not _builds(call):
            continue
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        if None in options or "no_implicit_headers" in options:
            continue
        flags = options.get("extra_cflags")
        if isinstance(flags, ast.Name):
            flags = names.get(flags.id, flags)
        try:
            yield None if flags is None else ast.literal_eval(flags)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue


def _builds(call: ast.Call) -> bool:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            named = {keyword.arg for keyword in call.keywords}
            return name == "load_inline" or (name == "load" and "sources" in named)
    return False
