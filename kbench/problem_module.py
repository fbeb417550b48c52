"""Execute a problem file as a module, with a size's constants put in place of its own.

Trusted code only: the judge and reference workers use this; candidates are loaded by `worker/`.
"""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Mapping
from typing import Any


def execute(source: str, *, path: str, name: str, overrides: Mapping[str, Any]) -> types.ModuleType:
    """Run `source` as module `name`; after every upper-level assignment of an overridden constant, assign the
    override, so that whatever is computed from it further down follows.

    Raises whatever the code raises, SyntaxError included.
    """
    tree = ast.parse(source, filename=path)
    body: list[ast.stmt] = []
    for statement in tree.body:
        body.append(statement)
        body += [
            _assignment(target, overrides[target], statement) for target in _assigned(statement) if target in overrides
        ]
    tree.body = body
    module = types.ModuleType(name)
    module.__file__ = path
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    sys.modules[name] = module  # dataclasses look their module up there
    exec(compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True), module.__dict__)
    return module


def _assigned(statement: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign) or (isinstance(statement, ast.AnnAssign) and statement.value is not None):
        targets = [statement.target]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _assignment(name: str, value: Any, near: ast.stmt) -> ast.stmt:
    statement = ast.parse(f"{name} = {value!r}").body[0]
    return ast.copy_location(statement, near)
