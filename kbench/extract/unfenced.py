"""Find the candidate in lines without usable fences: runs of statements that parse and define ModelNew.

The lines are cut into top-level statements by the lexer and each is parsed once. Everything between two
pieces of prose is one run, and counts only if all of it parses: leaving out broken code would silently edit
the candidate's file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kbench.extract.analysis import ParseFailure, cut_off, defines_model_new, is_noise, parse
from kbench.extract.lines import (
    MODEL_NEW_STATEMENT,
    LexState,
    columns,
    indentation,
    is_plain_words,
    join_lines,
    last_filled_line,
    lex_line,
    looks_like_prose,
)
from kbench.extract.model import Block

MAX_BASES = 3
# How far one statement may reach, and how many lines in all may be read again for statements that never end.
MAX_STATEMENT_LINES = 20_000
MAX_OPEN_BRACKET_LINES = 400
REREAD_LINES = 60_000

_CONTINUES = re.compile(r"(?:else|elif|except|finally)\b")
_NEW_STATEMENT = re.compile(r"(?:import|from|class|def|async|@|if|for|while|with|try|return)\b")
_STRING_START = re.compile(r"[rRbBuUfF]{0,2}[\"']")


@dataclass(frozen=True, kw_only=True)
class RunFailure:
    """Why the lines around a definition of ModelNew are not usable; the message names the line."""

    message: str
    at_end: bool
    """Whether the failure reaches the text's last line, as it does when the text was cut off."""


@dataclass(frozen=True, kw_only=True)
class RunSearch:
    """The usable runs in order, and the failures of the others."""

    runs: tuple[Block, ...] = ()
    failures: tuple[RunFailure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Lines [start, stop) that should be one top-level statement; `failure` says why they are not Python."""

    start: int
    stop: int
    border: bool
    """Prose, a fence or a tag: where code may begin or end without anything missing."""
    failure: ParseFailure | None


def find_runs(lines: Sequence[str]) -> RunSearch:
    """Every run of statements that parses and defines ModelNew, at the first indentation that has one."""
    failures: tuple[RunFailure, ...] = ()
    for base in _bases(lines):
        search = _find_runs_at(lines, base)
        if search.runs:
            return search
        failures = failures or search.failures
    return RunSearch(failures=failures)


def _bases(lines: Sequence[str]) -> list[str]:
    """The indentations at which the code may stand, shallowest first."""
    found = {indentation(line) for line in lines if MODEL_NEW_STATEMENT.match(line)}
    return sorted({*found, ""}, key=columns)[:MAX_BASES] if found else []


def _find_runs_at(lines: Sequence[str], base: str) -> RunSearch:
    chunks = _Chunker(lines, base).chunks()
    runs: list[Block] = []
    failures: list[RunFailure] = []
    index = 0
    while index < len(chunks):
        begin = index
        while index < len(chunks) and not chunks[index].border:
            index += 1
        stretch = chunks[begin:index]
        index += 1
        if any(MODEL_NEW_STATEMENT.match(line) for chunk in stretch for line in lines[chunk.start : chunk.stop]):
            result = _judge(stretch, lines, base)
            if isinstance(result, Block):
                runs.append(result)
            elif result is not None:
                failures.append(result)
    return RunSearch(runs=tuple(runs), failures=tuple(failures))


def _judge(stretch: Sequence[_Chunk], lines: Sequence[str], base: str) -> Block | RunFailure | None:
    """Code between two borders: a block if all of it parses and it defines ModelNew."""
    end = last_filled_line(lines)
    broken = next((chunk for chunk in stretch if chunk.failure is not None), None)
    if broken is not None and broken.failure is not None:
        return RunFailure(message=broken.failure.located(broken.start + 1), at_end=broken.stop >= end)
    start, stop = stretch[0].start, stretch[-1].stop
    text = join_lines([line.removeprefix(base) for line in lines[start:stop]])
    tree = parse(text)
    if isinstance(tree, ParseFailure):
        return RunFailure(message=tree.located(start + 1), at_end=stop >= end)
    if not defines_model_new(tree):
        return None
    missing = cut_off(tree) if stop >= end else None
    if missing is not None:
        return RunFailure(message=f"line {stop}: {missing}", at_end=True)
    return Block(language="python", text=text, first_line=start + 1, closed=False, origin="unfenced")


class _Chunker:
    """Cuts lines into top-level statements at the indentation `base`."""

    def __init__(self, lines: Sequence[str], base: str) -> None:
        self._lines = lines
        self._base = base
        self._budget = len(lines) + REREAD_LINES

    def chunks(self) -> list[_Chunk]:
        chunks: list[_Chunk] = []
        index = 0
        while index < len(self._lines):
            if not self._lines[index].strip():
                index += 1
                continue
            chunk = self._chunk(index)
            chunks.append(chunk)
            index = chunk.stop
        return chunks

    def _chunk(self, start: int) -> _Chunk:
        first = self._lines[start]
        if not first.startswith(self._base):
            return _Chunk(start=start, stop=start + 1, border=True, failure=None)
        first = first.removeprefix(self._base)
        prose = looks_like_prose(first)
        if prose and is_plain_words(first):
            return _Chunk(start=start, stop=self._suite_stop(start + 1), border=True, failure=None)
        stop = self._statement_stop(start, prose=prose)
        whole = stop is not None
        stop = stop if stop is not None else self._suite_stop(start + 1)
        tree = parse(join_lines([line.removeprefix(self._base) for line in self._lines[start:stop]]))
        if isinstance(tree, ParseFailure):
            cut = not whole and not prose
            return _Chunk(start=start, stop=stop, border=prose and not cut, failure=tree)
        return _Chunk(start=start, stop=stop, border=is_noise(tree), failure=None)

    def _statement_stop(self, start: int, *, prose: bool) -> int | None:
        """The index after the statement that starts at `start`; None if its strings or brackets never end."""
        state = LexState()
        index = start
        decorated = False
        opened = start
        while index < len(self._lines):
            line = self._lines[index].removeprefix(self._base)
            if state.inside and self._runs_away(state, line, index - opened):
                return None
            opened = opened if state.inside else index
            decorated = (not state.inside and line.startswith("@")) or (decorated and state.inside)
            state = lex_line(state, line)
            self._budget -= 1
            index += 1
            if state.inside:
                if prose and index == start + 1 and not _STRING_START.match(line):
                    return None
                continue
            following = self._continuation(index) if not decorated else index
            if following is None:
                return index
            index = following
        return None if state.inside else index

    def _runs_away(self, state: LexState, line: str, length: int) -> bool:
        if self._budget < 0 or length > MAX_STATEMENT_LINES:
            return True
        only_bracket = not state.quote
        return only_bracket and (length > MAX_OPEN_BRACKET_LINES or _NEW_STATEMENT.match(line) is not None)

    def _continuation(self, index: int) -> int | None:
        """The next line that is not blank, if it is part of the statement before it."""
        while index < len(self._lines) and not self._lines[index].strip():
            index += 1
        if index == len(self._lines) or not self._lines[index].startswith(self._base):
            return None
        line = self._lines[index].removeprefix(self._base)
        return index if line[0] in " \t" or _CONTINUES.match(line) is not None else None

    def _suite_stop(self, index: int) -> int:
        """The index after the deeper lines that follow."""
        following = self._continuation(index)
        while following is not None:
            index = following + 1
            following = self._continuation(index)
        return index
