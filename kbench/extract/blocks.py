"""Find the code blocks of a response: fences as models really write them.

Beyond CommonMark: a labelled fence inside an open block shows that the block's closing fence is missing; a
fence inside a Python triple-quoted string is content; `</think>` ends a block; bullets, quotes and prose may
stand before a fence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kbench.extract.analysis import ParseFailure, parse, quiet_parsing
from kbench.extract.fences import (
    CONTAINER_LABELS,
    PYTHON,
    Ending,
    Opening,
    match_ending,
    match_opening,
    without_quote,
)
from kbench.extract.lines import LexState, join_lines, lex_line, split_lines, strip_up_to
from kbench.extract.model import Block
from kbench.extract.unfenced import find_runs

__all__ = ["Block", "fenced_blocks", "find_blocks"]

MAX_NESTING = 3
# A fence in an unfinished string is looked past this far, and in all for this many lines, so that a long
# response full of unfinished strings still takes linear time.
STRING_LOOKAHEAD_LINES = 3_000
STRING_LOOKAHEAD_TOTAL_LINES = 100_000

_REASONING_END = re.compile(r"\s*</(?:think|thinking|reasoning)>", re.IGNORECASE)


def find_blocks(text: str) -> tuple[Block, ...]:
    """The fenced blocks in order; where there are none, the unfenced runs that define ModelNew."""
    lines = split_lines(text)
    with quiet_parsing():
        return fenced_blocks(lines) or find_runs(lines).runs


def fenced_blocks(lines: Sequence[str]) -> tuple[Block, ...]:
    """The fenced blocks of `lines`. Blocks that hold nothing but white space are left out."""
    return tuple(_Scanner(lines).scan(first_line=1))


class _End(NamedTuple):
    """Where an open block ends: its content stops before line index `stop`, scanning goes on at `resume`."""

    stop: int
    resume: int
    closed: bool
    code: str = ""


class _Scanner:
    """One pass over the lines; `budget` bounds the looking ahead of all blocks together."""

    def __init__(self, lines: Sequence[str], *, nesting: int = 0) -> None:
        self._lines = lines
        self._nesting = nesting
        self._budget = STRING_LOOKAHEAD_TOTAL_LINES

    def scan(self, *, first_line: int) -> list[Block]:
        blocks: list[Block] = []
        index = 0
        while index < len(self._lines):
            opening = match_opening(self._lines[index])
            if opening is None:
                index += 1
                continue
            start = index + 1
            end = self._find_end(start, opening)
            content = self._content(start, end, opening)
            index = end.resume
            if any(line.strip() for line in content):
                blocks += self._with_nested(content, first_line + start, opening, closed=end.closed)
        return blocks

    def _content(self, start: int, end: _End, opening: Opening) -> list[str]:
        raw = (without_quote(line, opening.quote_depth) or "" for line in self._lines[start : end.stop])
        content = [strip_up_to(line, opening.width) for line in raw]
        if end.code:
            content.append(strip_up_to(end.code, opening.width))
        while content and not end.closed and not content[-1].strip():
            content.pop()
        return content

    def _find_end(self, start: int, opening: Opening) -> _End:
        """The end of the block; a fence inside a string ends it only if reading on does not give Python."""
        lexed = opening.language == PYTHON or opening.language in CONTAINER_LABELS
        state = LexState()
        in_string: _End | None = None
        for index in range(start, len(self._lines)):
            line = without_quote(self._lines[index], opening.quote_depth)
            if line is None or _REASONING_END.match(line):
                return in_string or _End(index, index, closed=False)
            if in_string is not None:
                self._budget -= 1
                if self._budget < 0 or index - in_string.stop > STRING_LOOKAHEAD_LINES:
                    return in_string
            ending = match_ending(line, opening)
            if ending is not None:
                end = _end_at(index, ending)
                if not state.quote:
                    return self._confirmed(start, end, in_string, opening)
                in_string = in_string or end
            if lexed:
                state = lex_line(state, line)
        end = _End(len(self._lines), len(self._lines), closed=False)
        if state.quote:
            return in_string or end
        return self._confirmed(start, end, in_string, opening)

    def _confirmed(self, start: int, end: _End, in_string: _End | None, opening: Opening) -> _End:
        if in_string is None:
            return end
        content = self._content(start, end, opening)
        return in_string if isinstance(parse(join_lines(content)), ParseFailure) else end

    def _with_nested(self, content: list[str], first_line: int, opening: Opening, *, closed: bool) -> list[Block]:
        """The block itself, or the blocks inside it where it is only their container."""
        text = join_lines(content)
        block = Block(language=opening.language, text=text, first_line=first_line, closed=closed, origin="fence")
        may_contain = self._nesting < MAX_NESTING and (opening.language in CONTAINER_LABELS or not closed)
        if not may_contain or not any(match_opening(line) for line in content):
            return [block]
        if "ModelNew" in text and not isinstance(parse(text), ParseFailure):
            return [block]
        return _Scanner(content, nesting=self._nesting + 1).scan(first_line=first_line) or [block]


def _end_at(index: int, ending: Ending) -> _End:
    if ending.kind == "reopens":
        return _End(index, index, closed=False)
    return _End(index, index + 1, closed=True, code=ending.code)
