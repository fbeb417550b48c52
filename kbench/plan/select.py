"""The `-k` expression: substrings of `problem/solution`, joined by and, or, not and parentheses."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kbench.errors import UsageError

Matcher = Callable[[str], bool]

_TOKEN = re.compile(r"[()]|[^\s()]+")
_WORDS = frozenset({"and", "or", "not", "(", ")"})
_MAX_DEPTH = 50
_GRAMMAR = "write substrings of problem/solution joined by and, or, not and parentheses"


def compile_selection(expression: str) -> Matcher:
    """Turn the text into a test of an id. Matching ignores case, as pytest's `-k` does.

    Raises UsageError, with the position, for text that is not an expression.
    """
    tokens = tuple(_Token(m.group(), m.start()) for m in _TOKEN.finditer(expression))
    parser = _Parser(expression, tokens)
    matcher = parser.either(depth=0)
    if parser.current is not None:
        raise parser.error(f"expected 'and' or 'or' before {parser.current.text!r}")
    return matcher


@dataclass(frozen=True)
class _Token:
    text: str
    start: int


class _Parser:
    """Recursive descent, lowest precedence first: or, and, not, word or parenthesis."""

    def __init__(self, expression: str, tokens: tuple[_Token, ...]) -> None:
        self._expression = expression
        self._tokens = tokens
        self._next = 0

    @property
    def current(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def error(self, why: str) -> UsageError:
        column = (self.current.start if self.current else len(self._expression)) + 1
        return UsageError(
            f"-k {self._expression!r} is not an expression", where=f"column {column}", why=why, hint=_GRAMMAR
        )

    def _take(self, text: str) -> bool:
        if self.current is None or self.current.text != text:
            return False
        self._next += 1
        return True

    def either(self, depth: int) -> Matcher:
        terms = [self._all(depth)]
        while self._take("or"):
            terms.append(self._all(depth))
        return lambda id_: any(term(id_) for term in terms)

    def _all(self, depth: int) -> Matcher:
        terms = [self._term(depth)]
        while self._take("and"):
            terms.append(self._term(depth))
        return lambda id_: all(term(id_) for term in terms)

    def _term(self, depth: int) -> Matcher:
        negated = False
        while self._take("not"):
            negated = not negated
        matcher = self._atom(depth)
        return (lambda id_: not matcher(id_)) if negated else matcher

    def _atom(self, depth: int) -> Matcher:
        if depth > _MAX_DEPTH:
            raise self.error(f"parentheses nest deeper than {_MAX_DEPTH}")
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise self.error("expected ')'")
            return inner
        token = self.current
        if token is None:
            raise self.error("the expression ends where a name was expected")
        if token.text in _WORDS:
            raise self.error(f"expected a name, found {token.text!r}")
        self._next += 1
        wanted = token.text.lower()
        return lambda id_: wanted in id_.lower()
