"""Static facts about a Python file, read off its text with `ast`; the file is never imported.

These facts advise (which device to plan for, which tool is needed, what a size may override). They never
decide a verdict: a candidate can hide anything from a reader of text, and only behaviour is judged.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kbench.model import Device
from kbench.plan.evidence import read_evidence


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What a file's text says. Where it does not parse, all but `syntax_error` are neutral values."""

    parses: bool
    syntax_error: tuple[int, str] | None = None
    """The line (from 1) and the parser's message."""
    defined: frozenset[str] = frozenset()
    """Names bound at module level by class, def, import, assignment or loop, also below `if` and `try`."""
    assigned: frozenset[str] = frozenset()
    """The part of `defined` assigned by the module's top-level statements: what a size may override."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """The part of `defined` whose last assignment is a literal, with that value."""
    star_import: bool = False
    """There is a module-level `from x import *`, so a name missing from `defined` may exist all the same."""
    uses_cuda: bool = False
    """Cannot run without CUDA (as far as the text tells)."""
    uses_extension: bool = False
    """Builds an extension, so it needs a C++ compiler."""
    uses_nvcc: bool = False
    """Builds CUDA sources, so it needs nvcc."""
    devices: frozenset[Device] = frozenset(Device)

    def lacks(self, *names: str) -> tuple[str, ...]:
        """Those of `names` that the module certainly does not define."""
        return () if self.star_import else tuple(name for name in names if name not in self.defined)


def read_facts(text: str) -> SourceFacts:
    """Read the facts off a file's text. Never raises, whatever the text is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a candidate's string is its own business
            tree = ast.parse(text)
    except SyntaxError as error:
        return SourceFacts(parses=False, syntax_error=(error.lineno or 1, error.msg))
    except ValueError as error:
        return SourceFacts(parses=False, syntax_error=(1, str(error)))
    except (RecursionError, MemoryError):
        return SourceFacts(parses=False, syntax_error=(1, "too deeply nested to parse"))
    names = _read_names(tree)
    evidence = read_evidence(tree)
    return SourceFacts(
        parses=True,
        defined=frozenset(names.defined),
        assigned=frozenset(_assigned_on_top(tree)),
        constants=names.constants,
        star_import=names.star_import,
        uses_cuda=evidence.needs_cuda,
        uses_extension=evidence.cuda_build or evidence.cpp_build,
        uses_nvcc=evidence.cuda_build,
        devices=evidence.devices,
    )


@dataclass
class _Names:
    defined: set[str] = field(default_factory=set)
    constants: dict[str, Any] = field(default_factory=dict)
    star_import: bool = False

    def assign(self, target: ast.expr, value: ast.expr | None) -> None:
        for node in _bound_names(target):
            self.defined.add(node.id)
            self.constants.pop(node.id, None)
        if isinstance(target, ast.Name) and value is not None:
            try:
                self.constants[target.id] = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                return


def _bound_names(target: ast.expr) -> Iterator[ast.Name]:
    return (n for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _read_names(tree: ast.Module) -> _Names:
    names = _Names()
    for statement in _module_level(tree):
        match statement:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.defined.add(statement.name)
            case ast.Import():
                names.defined.update(a.asname or a.name.partition(".")[0] for a in statement.names)
            case ast.ImportFrom():
                names.star_import |= any(a.name == "*" for a in statement.names)
                names.defined.update(a.asname or a.name for a in statement.names if a.name != "*")
            case ast.Assign():
                for target in statement.targets:
                    names.assign(target, statement.value)
            case ast.AnnAssign() if statement.value is not None:
                names.assign(statement.target, statement.value)
            case ast.AugAssign():
                names.assign(statement.target, None)
            case ast.For() | ast.AsyncFor():
                names.defined.update(n.id for n in _bound_names(statement.target))
            case _:
                pass
    return names


def _assigned_on_top(tree: ast.Module) -> Iterator[str]:
    """Names assigned by the module's own statements, the ones `kbench.problem_module` can override."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        else:
            continue
        yield from (node.id for target in targets for node in _bound_names(target))


def _module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run in the module's own namespace, in source order."""
    pending: list[ast.AST] = list(reversed(tree.body))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))
