"""Which compiler flags headers are precompiled for, and which of them a source's text will ask for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

_HARMLESS = re.compile(
    r"-O[0-3sg]?|-Ofast|-march=native|-mtune=native|-fopenmp|-ffast-math|-funroll-loops|-fno-math-errno|-ftree-vectorize"
    r"|-fno-trapping-math|-ffp-contract=(?:fast|on|off)|-fPIC|-std=(?:c|gnu)\+\+(?:17|20|23)|-DNDEBUG|-mavx2|-mfma"
)
"""Neither names a file nor runs a program, and there are few of them: a set of headers takes half a gigabyte."""
_WARNING = re.compile(r"-w|-W(?![lap],)[\w=+-]+")
"""About warnings only: the same code either way, and torch's headers are silent as system headers are."""
DECLARATIONS_ONLY = "-DKBENCH_DECLARATIONS_ONLY"
"""Asks kbench's own `torch/extension.h` for what functions can be declared and bound with, and no more."""
_ASIDE = re.compile(r"//[^\n]*|/\*.*?\*/|^\s*#\s*include\s*<(?:torch/extension\.h|\w+)>", re.DOTALL | re.MULTILINE)
"""Comments, and includes that change nothing."""
_DECLARATIONS = re.compile(r"[\w\s:<>,&*();=.-]*")
_QUALIFIED = re.compile(r"\w*(?:\s*::\s*\w+)+")
_DECLARED = re.compile(
    r"(?:at|torch)::(?:Tensor|Scalar|ScalarType|IntArrayRef|Device)|torch::optional"
    r"|std::(?:optional|vector|tuple|pair|string|size_t|u?int\d+_t)"
)
"""What that header is sure to have."""


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


def only_declares(sources: Iterable[str]) -> bool:
    """Whether these are declarations of functions over a few well-known types: nothing that calls torch."""
    spoken = [_ASIDE.sub(" ", source) for source in sources]
    return all(
        _DECLARATIONS.fullmatch(text) and all(_DECLARED.fullmatch(name) for name in _QUALIFIED.findall(text))
        for text in spoken
    )


def read_cflags(text: str) -> tuple[tuple[str, ...], ...]:
    """The flag sets to have headers for before `text` is built, each once. Advice: a text may do otherwise."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    found = ((own, precompilable(flags)) for own, flags in _given(tree))
    return tuple(dict.fromkeys((*own, *flags) for own, flags in found if flags is not None))


def _given(tree: ast.Module) -> Iterator[tuple[tuple[str, ...], Sequence[str] | None]]:
    """Of each call that builds with torch's headers: kbench's own flag, and `extra_cflags` where it is a literal or a
    name for one."""
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
        own = (DECLARATIONS_ONLY,) if _only_declares(_named(_host_sources(call, options), names)) else ()
        flags = _named(options.get("extra_cflags"), names)
        try:
            yield own, None if flags is None else ast.literal_eval(flags)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue


def _named(value: ast.expr | None, names: Mapping[str, ast.expr]) -> ast.expr | None:
    return names.get(value.id, value) if isinstance(value, ast.Name) else value


def _host_sources(call: ast.Call, options: Mapping[str | None, ast.expr]) -> ast.expr | None:
    return options.get("cpp_sources") or (call.args[1] if len(call.args) > 1 else None)


def _only_declares(sources: ast.expr | None) -> bool:
    parts = sources.elts if isinstance(sources, ast.List | ast.Tuple) else [sources]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return len(texts) == len(parts) and only_declares(texts)


def _builds(call: ast.Call) -> bool:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            named = {keyword.arg for keyword in call.keywords}
            return name == "load_inline" or (name == "load" and "sources" in named)
    return False
