"""Modules of kbench, cut down to what a script needs of them, as text.

A script embeds the judge's own functions, so nothing of them is written twice. What is needed follows from the
sources: starting with the names asked for, every top-level definition that a kept one mentions is kept. Annotations
do not count, since none is evaluated.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PACKAGE = "kbench"


def bundle(wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Module name to its cut-down source, for every module that the names in `wanted` (by module) need."""
    modules: dict[str, _Module] = {}
    todo = [(module, name) for module, names in wanted.items() for name in names]
    while todo:
        module, name = todo.pop()
        if module not in modules:
            modules[module] = _read(module)
        todo += modules[module].keep(name)
    return {name: modules[name].text() for name in sorted(modules)}


@dataclass
class _Module:
    source: str
    definitions: dict[str, ast.stmt]
    imports: dict[str, list[tuple[ast.Import | ast.ImportFrom, ast.alias]]]
    after: dict[int, ast.stmt]
    """A definition's documentation string, by the definition's identity."""
    kept: dict[int, ast.stmt] = field(default_factory=dict)
    kept_imports: dict[str, None] = field(default_factory=dict)

    def keep(self, name: str) -> list[tuple[str, str]]:
        """Keep what defines `name`; returns the names of other modules, and of this one, that it needs in turn."""
        needs: list[tuple[str, str]] = []
        todo = list(self.definitions) if name == "*" else [name]
        while todo:
            wanted = todo.pop()
            if wanted in self.imports:
                self.kept_imports[wanted] = None
                for statement, alias in self.imports[wanted]:
                    needs += _imported(statement, alias)
            statement_of = self.definitions.get(wanted)
            if statement_of is None or id(statement_of) in self.kept:
                continue
            self.kept[id(statement_of)] = statement_of
            for node in _without_annotations(statement_of):
                if isinstance(node, ast.Name):
                    todo.append(node.id)
                elif isinstance(node, ast.ImportFrom | ast.Import):
                    needs += [need for alias in node.names for need in _imported(node, alias)]
        return needs

    def text(self) -> str:
        """The kept statements in their order, below the imports they use."""
        lines = self.source.splitlines()
        imports = [_import_text(statement, alias) for n in self.kept_imports for statement, alias in self.imports[n]]
        parts = ["from __future__ import annotations", *sorted(set(imports))]
        for statement in sorted(self.kept.values(), key=lambda s: s.lineno):
            last = self.after.get(id(statement), statement).end_lineno
            parts += ["", *lines[_first_line(statement, lines) - 1 : last]]
        return "\n".join(parts) + "\n"


def _read(module: str) -> _Module:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"{module} has no source to embed")
    source = Path(spec.origin).read_text()
    found = _Module(source=source, definitions={}, imports={}, after={})
    body = ast.parse(source).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                bound = alias.asname or alias.name.partition(".")[0]
                found.imports.setdefault(bound, []).append((statement, alias))
            continue
        for name in _defined(statement):
            found.definitions[name] = statement
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found.after[id(statement)] = following
    return found


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _without_annotations(root: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(root):
        if name in ("annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield node
                yield from _without_annotations(node)


def _imported(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> list[tuple[str, str]]:
    """What an import needs of kbench: a name of a module, or all of a module that is imported as such."""
    if isinstance(statement, ast.Import):
        return [(alias.name, "*")] if alias.name.partition(".")[0] == _PACKAGE else []
    module = statement.module or ""
    if module.partition(".")[0] != _PACKAGE:
        return []
    inner = f"{module}.{alias.name}"
    if _is_package(module) and importlib.util.find_spec(inner) is not None:
        return [(inner, "*")]
    return [(module, alias.name)]


def _is_package(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


def _import_text(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    name = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
    return f"import {name}" if isinstance(statement, ast.Import) else f"from {statement.module} import {name}"


def _first_line(statement: ast.stmt, lines: list[str]) -> int:
    """Where a statement begins, with its decorators and the comment above it."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return int(first)
