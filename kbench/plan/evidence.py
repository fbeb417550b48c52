"""What a candidate's text says about the device it needs and the extensions it builds.

Read without running it, so it advises only: see `kbench.source`.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from kbench.model import Device

_BUILDERS = frozenset({"load", "load_inline", "CUDAExtension", "CppExtension"})
_CUDA_PACKAGES = frozenset({"triton", "cupy", "pycuda", "tilelang", "cutlass", "cuda"})
# Conventional helpers of a problem file that candidates copy along; the judge never calls a candidate's own.
_UNUSED_FUNCTIONS = frozenset({"get_inputs", "get_init_inputs"})
_CUDA_DEVICE = re.compile(r"cuda(:\d+)?")


@dataclass
class Evidence:
    """Unguarded evidence binds; guarded evidence (in a `try`, below a test for CUDA) has a way round it."""

    needs_cuda: bool = False
    cuda_build: bool = False
    cpp_build: bool = False
    may_use_cuda: bool = False

    @property
    def devices(self) -> frozenset[Device]:
        if self.needs_cuda:
            return frozenset({Device.CUDA})
        if self.cpp_build and not self.may_use_cuda:
            return frozenset({Device.CPU})
        return frozenset(Device)

    def note(self, node: ast.AST, spelling: _Spelling, *, guarded: bool) -> None:
        kind = spelling.build_kind(node) if isinstance(node, ast.Call) else None
        cuda = kind == Device.CUDA or _mentions_cuda(node)
        self.may_use_cuda |= cuda
        if not guarded:
            self.needs_cuda |= cuda
            self.cuda_build |= kind == Device.CUDA
            self.cpp_build |= kind == Device.CPU


def read_evidence(tree: ast.Module) -> Evidence:
    evidence, spelling = Evidence(), _Spelling.read(tree)
    pending: list[tuple[ast.AST, bool]] = [
        (s, False) for s in tree.body if not (isinstance(s, ast.FunctionDef) and s.name in _UNUSED_FUNCTIONS)
    ]
    while pending:  # not recursive: a candidate's nesting must not exhaust our stack
        node, guarded = pending.pop()
        evidence.note(node, spelling, guarded=guarded)
        pending.extend((child, guarded or below) for child, below in _children(node))
    return evidence


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Child nodes, each with whether it stands below a guard of its own."""
    match node:
        case ast.If() if _is_main_guard(node.test):
            yield from ((child, False) for child in node.orelse)
        case ast.If() | ast.IfExp():
            guards = _tests_for_cuda(node.test)
            yield from ((child, guards) for child in ast.iter_child_nodes(node))
        case ast.Try() | ast.TryStar() if node.handlers:
            covered = itertools.chain(node.body, node.handlers, node.orelse)
            yield from ((child, True) for child in covered)
            yield from ((child, False) for child in node.finalbody)
        case _:
            yield from ((child, False) for child in ast.iter_child_nodes(node))


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _tests_for_cuda(test: ast.expr) -> bool:
    return any(
        (isinstance(n, ast.Attribute) and n.attr in ("is_available", "is_cuda", "device_count"))
        or (isinstance(n, ast.Constant) and n.value == "cuda")
        for n in ast.walk(test)
    )


def _mentions_cuda(node: ast.AST) -> bool:
    match node:
        case ast.Import():
            return any(_is_cuda_package(alias.name) for alias in node.names)
        case ast.ImportFrom(module=str(module), level=0):
            return _is_cuda_package(module) or (
                module == "numba" and any(a.name == "cuda" for a in node.names)
            )
        case ast.Call(func=ast.Attribute(attr="cuda")):
            return True
        case ast.Call():
            values = itertools.chain(node.args, (k.value for k in node.keywords if k.arg != "name"))
            return any(
                isinstance(v, ast.Constant) and isinstance(v.value, str) and _CUDA_DEVICE.fullmatch(v.value)
                for v in values
            )
        case _:
            return False


def _is_cuda_package(module: str) -> bool:
    return module.partition(".")[0] in _CUDA_PACKAGES or module.startswith("numba.cuda")


@dataclass(frozen=True)
class _Spelling:
    """How this file spells `torch.utils.cpp_extension` and the functions in it."""

    functions: Mapping[str, str]
    modules: frozenset[str]
    strings: frozenset[str]
    """Every string in the file: where a call's arguments are computed, they decide."""

    @classmethod
    def read(cls, tree: ast.Module) -> _Spelling:
        functions, modules = {"load_inline": "load_inline"}, {"cpp_extension"}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "torch.utils.cpp_extension":
                functions.update({a.asname or a.name: a.name for a in node.names if a.name in _BUILDERS})
            elif isinstance(node, ast.Import | ast.ImportFrom):
                modules.update(a.asname for a in node.names if a.asname and a.name.endswith("cpp_extension"))
        return cls(functions, frozenset(modules), _strings(tree))

    def build_kind(self, call: ast.Call) -> Device | None:
        """The device a builder call compiles for, or None for any other call."""
        match self._builder(call.func):
            case None:
                return None
            case "CUDAExtension":
                return Device.CUDA
            case "load_inline":
                cuda = _given(call, "cuda_sources", position=2) or _given(call, "with_cuda")
                if any(k.arg is None for k in call.keywords):  # **options: look for the key anywhere
                    cuda = cuda or "cuda_sources" in self.strings
            case "load":
                cuda = _given(call, "with_cuda") or _names_cu_file(
                    {s for s in _strings(call) if "." in s} or self.strings
                )
            case _:
                cuda = _names_cu_file(_strings(call))
        return Device.CUDA if cuda else Device.CPU

    def _builder(self, function: ast.expr) -> str | None:
        match function:
            case ast.Name():
                return self.functions.get(function.id)
            case ast.Attribute(attr=attr, value=ast.Name(id=base) | ast.Attribute(attr=base)):
                return attr if attr in _BUILDERS and base in self.modules else None
            case _:
                return None


def _given(call: ast.Call, name: str, position: int | None = None) -> bool:
    """The argument is there and is not a literal nothing (None, "", [], False)."""
    values = [k.value for k in call.keywords if k.arg == name]
    if position is not None and len(call.args) > position:
        values.append(call.args[position])
    return any(not _is_nothing(value) for value in values)


def _is_nothing(value: ast.expr) -> bool:
    return (isinstance(value, ast.Constant) and not value.value) or (
        isinstance(value, ast.List | ast.Tuple) and not value.elts
    )


def _strings(tree: ast.AST) -> frozenset[str]:
    return frozenset(
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    )


def _names_cu_file(strings: Set[str]) -> bool:
    return any(s.endswith((".cu", ".cuh")) for s in strings)
