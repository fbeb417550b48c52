"""What a source says about itself, read from its syntax tree. Nothing here compiles or runs it."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NAME = "ModelNew"

# CPython names other lines inside its messages: "after 'if' statement on line 3", "(detected at line 9)".
_LINE_IN_MESSAGE = re.compile(r"\b(on|at) line (\d+)")
_ALWAYS_BOUND = frozenset(dir(builtins)) | {"__file__", "__class__", "__annotations__"}


@dataclass(frozen=True, kw_only=True)
class ParseFailure:
    """Why a source is not Python; `line` counts from 1 within it."""

    line: int
    message: str

    def located(self, first_line: int) -> str:
        """The message, its line numbers shifted so that the source's first line is `first_line`."""
        shift = first_line - 1
        message = _LINE_IN_MESSAGE.sub(lambda found: f"{found[1]} line {int(found[2]) + shift}", self.message)
        return f"line {self.line + shift}: {message}"


@contextmanager
def quiet_parsing() -> Iterator[None]:
    """Silence the parser's warnings: an invalid escape in a candidate's string is the candidate's own affair.

    Not part of `parse`, because it takes as long as parsing a line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse(source: str) -> ast.Module | ParseFailure:
    """The syntax tree, or why there is none. Never raises for any text. Call it within `quiet_parsing`."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        return ParseFailure(line=max(error.lineno or 1, 1), message=error.msg or "invalid syntax")
    except (ValueError, MemoryError, RecursionError) as error:  # NUL or lone surrogates; too deeply nested
        return ParseFailure(line=1, message=str(error) or "nested too deeply to parse")


def defines_model_new(tree: ast.Module) -> bool:
    """Whether importing the module would bind ModelNew by a class or an assignment at module level.

    Under `if`, `try` and `with` counts; under `if __name__ == "__main__"` does not: an import skips it.
    """
    return any(_binds_model_new(statement) for statement in _module_level(tree.body))


def cut_off(tree: ast.Module) -> str | None:
    """Where a module that parses nevertheless seems to stop in the middle of ModelNew, or None.

    Only meaningful for text that ends without a closing fence: a class whose last line is the text's last
    line may have lost its rest at any statement.
    """
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.ClassDef) or last.name != NAME:
        return None
    methods = {item.name: item for item in last.body if isinstance(item, ast.FunctionDef)}
    forward = methods.get("forward")
    if forward is None:
        only_module = all(_last_part(base) == "Module" for base in last.bases)
        return "ModelNew has no forward yet" if last.bases and only_module else None
    if last.body[-1] is forward and not _always_returns(forward.body):
        return "forward ends without a return"
    return None


def bound_names(tree: ast.Module) -> frozenset[str]:
    """Names that the module binds at module level."""
    names: set[str] = set()
    for statement in _module_level(tree.body):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names.update(_imported(statement))
        else:
            names.update(_stored(statement))
    return frozenset(names)


def missing_names(tree: ast.Module, *, up_to_model_new: bool) -> frozenset[str]:
    """Names read and bound nowhere in the module.

    A name bound in any scope counts as bound, and `import *` binds all. With `up_to_model_new`, statements
    after ModelNew that are no definitions (example usage) are not read.
    """
    bound = set(_ALWAYS_BOUND)
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update(_imported(node))
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            bound.add(node.rest)
    if "*" in bound:
        return frozenset()
    statements = _needed_statements(tree) if up_to_model_new else tree.body
    read = (node for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Name))
    return frozenset(node.id for node in read if node.id not in bound)


def is_noise(tree: ast.Module) -> bool:
    """Whether a statement that parses is more likely prose ("Explanation", "Note: fast") than code."""
    return bool(tree.body) and all(_is_noise_statement(statement) for statement in tree.body)


def _is_noise_statement(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    if not isinstance(statement, ast.Expr):
        return False
    meaningful = (ast.Call, ast.Constant, ast.NamedExpr, ast.ListComp, ast.Await)
    return not isinstance(statement.value, meaningful)


def _module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run in the module's own scope when it is imported, compound ones before their parts."""
    pending = list(reversed(body))
    while pending:
        statement = pending.pop()
        yield statement
        parts: list[ast.stmt] = []
        if isinstance(statement, ast.If):
            parts = ([] if _is_main_guard(statement.test) else statement.body) + statement.orelse
        elif isinstance(statement, (ast.With, ast.For, ast.While)):
            parts = statement.body
        elif isinstance(statement, ast.Try):
            handled = [part for handler in statement.handlers for part in handler.body]
            parts = statement.body + handled + statement.orelse + statement.finalbody
        pending.extend(reversed(parts))


def _is_main_guard(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


def _binds_model_new(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ClassDef):
        return statement.name == NAME
    if isinstance(statement, ast.Assign) or (isinstance(statement, ast.AnnAssign) and statement.value is not None):
        return NAME in _stored(statement)
    return False


def _stored(statement: ast.stmt) -> set[str]:
    """Names that an assignment, loop or `with` binds itself."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.For)):
        targets = [statement.target]
    elif isinstance(statement, ast.With):
        targets = [item.optional_vars for item in statement.items if item.optional_vars is not None]
    nodes = (node for target in targets for node in ast.walk(target))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    return (alias.asname or alias.name.partition(".")[0] for alias in statement.names)


def _needed_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """What ModelNew may rest on: everything up to its definition, and later definitions."""
    last = max((i for i, statement in enumerate(tree.body) if _contains_binding(statement)), default=-1)
    for index, statement in enumerate(tree.body):
        if index <= last or isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            yield statement


def _contains_binding(statement: ast.stmt) -> bool:
    return any(_binds_model_new(part) for part in _module_level([statement]))


def _last_part(base: ast.expr) -> str | None:
    if isinstance(base, ast.Attribute):
        return base.attr
    return base.id if isinstance(base, ast.Name) else None


def _always_returns(body: list[ast.stmt]) -> bool:
    """Whether every path of a function's body that we follow ends in `return` or `raise`."""
    pending = [body]
    while pending:
        last = pending.pop()[-1]
        if isinstance(last, ast.If):
            if not last.orelse:
                return False
            pending += [last.body, last.orelse]
        elif isinstance(last, (ast.With, ast.AsyncWith)):
            pending.append(last.body)
        elif isinstance(last, ast.Try):
            pending += [last.orelse or last.body, *(handler.body for handler in last.handlers)]
        elif not isinstance(last, (ast.Return, ast.Raise, ast.Match, ast.While)):
            return False
    return True
